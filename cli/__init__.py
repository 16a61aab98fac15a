"""The one command `ghostnote`, its sub-commands loaded when they are used."""
