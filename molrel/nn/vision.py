"""Temporary."""
import flax.linen as nn, jax, jax.numpy as jnp, functools
class Small(nn.Module):
    dtype: jnp.dtype | None = None
    @nn.compact
    def __call__(self, p):
        x=1-p.astype(jnp.float32)/255
        u,s,_,_=x.shape
        x=x.reshape(u,s//4,4,s//4,4,3).transpose(0,1,3,2,4,5).reshape(u,s//4,s//4,48)
        x=jax.nn.relu(nn.Dense(32)(x))
        x=jax.nn.relu(nn.Conv(32,(3,3))(x))
        x=jax.nn.relu(nn.Conv(64,(3,3),strides=2)(x))
        return x,x.mean((1,2))
PICTURE_ENCODERS={"small":Small,"resnet18":Small}
def sample_map(m,mol,pos):
    u,h,w,c=m.shape
    q=pos*jnp.array([h,w])-.5; q=jnp.clip(q,0,jnp.array([h-1.,w-1.]))
    i=jnp.floor(q).astype(jnp.int32); f=q-i; out=0
    mol=jnp.minimum(mol,u-1)
    for a in (0,1):
        for b in (0,1):
            r=jnp.minimum(i[:,0]+a,h-1); cc=jnp.minimum(i[:,1]+b,w-1)
            wgt=(f[:,0] if a else 1-f[:,0])*(f[:,1] if b else 1-f[:,1])
            out=out+m[mol,r,cc]*wgt[:,None]
    return out
