"""Robot logs in HDF5: robomimic, LIBERO, robosuite, ALOHA/ACT, DROID, and others by a declared mapping."""
