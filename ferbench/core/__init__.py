"""What everything else stands on: configuration keys, the building of parts, processes, signals, files, text."""
