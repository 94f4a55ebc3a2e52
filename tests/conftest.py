import signal

# Whoever starts the tests in the background of a shell has SIGINT ignored, and so would the processes that tests start.
signal.signal(signal.SIGINT, signal.default_int_handler)
