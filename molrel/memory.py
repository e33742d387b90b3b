"""Memory and compilation settings of the process."""
import ctypes, os, resource
from pathlib import Path
def keep_heap():
    libc=ctypes.CDLL(None)
    for k,v in ((-4,0),(-1,2**31-1),(-2,256*2**20),(-8,1)): libc.mallopt(k,v)
    return True
def enable_compilation_cache(folder=None):
    import jax
    f=folder or Path(os.environ.get("MOLREL_CACHE", Path.home()/".cache/molrel"))/"jax"
    jax.config.update("jax_compilation_cache_dir", str(f)); jax.config.update("jax_persistent_cache_min_compile_time_secs",0)
def peak_memory_mb(): return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss/1024
