import signal, resource
print(signal.set_wakeup_fd(-1), signal.getitimer(signal.ITIMER_REAL))
print(resource.getrlimit(resource.RLIMIT_STACK)[0], resource.getrlimit(resource.RLIMIT_NOFILE), resource.getrlimit(resource.RLIMIT_CORE))
