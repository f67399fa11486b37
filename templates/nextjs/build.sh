# Builds the app as its user, without network. What the build keeps in .next/cache makes the next one, in a sandbox, a matter of
# seconds.
npm run build
