//! IP, TCP, UDP.
