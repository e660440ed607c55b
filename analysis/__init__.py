"""From run directories to tables and figures; reads the records alone."""
