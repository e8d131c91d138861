"""Ports for brokers. Run as a program it prints one."""
import random
import socket


def free_port():
    """Below the ports that the system gives to connections, which would take it while the broker is down; with its neighbour, which
    Apache Kafka's controller wants."""
    while True:
        port = random.randrange(22000, 32000, 2)
        try:
            for number in (port, port + 1):
                with socket.socket() as free:
                    free.bind(("127.0.0.1", number))
            return port
        except OSError:
            continue


if __name__ == "__main__":
    print(free_port())
