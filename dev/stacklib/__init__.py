"""The parts of dev/stack, each a file: what one daemon needs to be made, started and stopped."""
