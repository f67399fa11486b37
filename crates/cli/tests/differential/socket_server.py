import socket, threading
server = socket.create_server(("127.0.0.1", 0))

def serve():
    peer, _ = server.accept()
    peer.sendall(peer.recv(100).upper())
    peer.close()

threading.Thread(target=serve).start()
with socket.create_connection(server.getsockname()) as client:
    client.sendall(b"quiet")
    print(client.recv(100))
