"""The foundation of all folders: configuration keys, the building of parts, plug-ins, processes, signals, files and text."""
