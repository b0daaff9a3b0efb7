"""The programs that we build, pinned, and what is known of the vulnerabilities of all pins."""
