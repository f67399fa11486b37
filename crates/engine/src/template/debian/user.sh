# Step "user": the user's login name, and the directory where executions start. USER_NAME, WORKING_DIR.
set -eu
if [ "$USER_NAME" != user ]; then
    if grep -q "^$USER_NAME:" /etc/passwd /etc/group; then
        echo "user: Debian has the name $USER_NAME already; choose another one for \`user\`" >&2
        exit 1
    fi
    sed -i "s/^user:/$USER_NAME:/" /etc/passwd /etc/group /etc/shadow /etc/gshadow
fi
[ -d "$WORKING_DIR" ] || install -d -o 1000 -g 1000 "$WORKING_DIR"
