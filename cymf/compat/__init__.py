"""Drop-ins for the classes of other libraries, module by module: ``cymf.compat.implicit``."""
