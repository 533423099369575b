"""The network: backbone, object level, part level, channel attention, and the systems it is compared with."""
