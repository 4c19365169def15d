"""What tests of several folders use: programs driven from outside, a browser, the checkout's root."""
