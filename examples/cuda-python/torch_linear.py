"""Calls the kernels of a package on PyTorch tensors, through their C launchers and ctypes.

    npx quern build q4.kernel.ts -t cuda -e 'linear=linear<mine>' -e quantize -o out
    nvcc -std=c++17 -O3 -shared -Xcompiler -fPIC -o libq4.so out/cuda/*.cu
    python torch_linear.py ./libq4.so
"""

import ctypes
import sys

import torch

library = ctypes.CDLL(sys.argv[1] if len(sys.argv) > 1 else "./libq4.so")


def launch(name, tensors, dims):
    """Enqueues a kernel on PyTorch's current stream. Tensors are contiguous and on the GPU: parameters, then results."""
    sizes = [ctypes.c_int64(d) for d in dims]
    scratch_bytes = getattr(library, f"{name}_scratch")
    scratch_bytes.restype = ctypes.c_int64
    # Freed to PyTorch's allocator, which gives it to nobody before the stream has passed the kernel.
    scratch = torch.empty(max(1, scratch_bytes(*sizes)), dtype=torch.uint8, device="cuda")
    pointers = [ctypes.c_void_p(t.data_ptr()) for t in tensors]
    stream = ctypes.c_void_p(torch.cuda.current_stream().cuda_stream)
    error = getattr(library, name)(*pointers, *sizes, ctypes.c_void_p(scratch.data_ptr()), stream)
    if error:
        raise RuntimeError(f"{name}: cudaError {error}")


class Q4Linear(torch.nn.Module):
    """y = x wT with weights of four bits: one f16 scale for 16 values."""

    def __init__(self, weight):
        super().__init__()
        n, k = weight.shape
        if k % 16:
            raise ValueError(f"rows of {k} values are no multiple of 16")
        self.shape = (n, k)
        self.register_buffer("scale", torch.empty(n, k // 16, dtype=torch.float16, device="cuda"))
        self.register_buffer("codes", torch.empty(n, k // 2, dtype=torch.uint8, device="cuda"))
        source = weight.detach().to("cuda", torch.float32).contiguous()
        launch("q4_quantize", [source, self.scale, self.codes], [n, k])

    def forward(self, x):
        n, k = self.shape
        rows = x.reshape(-1, k).to(torch.float32).contiguous()
        y = torch.empty(rows.shape[0], n, device="cuda")
        launch("q4_linear", [rows, self.scale, self.codes, y], [rows.shape[0], k, n])
        return y.reshape(*x.shape[:-1], n)


if __name__ == "__main__":
    torch.manual_seed(0)
    plain = torch.nn.Linear(512, 256, bias=False, device="cuda")
    small = Q4Linear(plain.weight)
    for m in (1, 7, 64):
        x = torch.randn(m, 512, device="cuda")
        error = (small(x) - plain(x)).norm() / plain(x).norm()
        print(f"{m} rows: relative error {error:.3f} at 5 bits a weight")
