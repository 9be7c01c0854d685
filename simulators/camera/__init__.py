"""A network camera: RTSP over TCP with JPEG pictures, for tests on a real stream."""
