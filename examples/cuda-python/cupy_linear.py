"""Compiles one kernel of a package with NVRTC, through CuPy, and launches it as the manifest says.

    npx quern build q4.kernel.ts -t cuda -e 'linear=linear<mine>' -e quantize -o out
    python cupy_linear.py out
"""

import json
import pathlib
import sys

import cupy

folder = pathlib.Path(sys.argv[1] if len(sys.argv) > 1 else "out")
manifest = json.loads((folder / "manifest.json").read_text())


def value(code, dims):
    """A size in postfix form: numbers, names of dims, and + * / div, which floors."""
    stack = []
    for item in code:
        if item in ("+", "*", "/", "div"):
            b, a = stack.pop(), stack.pop()
            stack.append(a + b if item == "+" else a * b if item == "*" else a // b)
        else:
            stack.append(dims[item] if isinstance(item, str) else item)
    return stack[0]


class Kernel:
    def __init__(self, name):
        entry = manifest["kernels"][name]
        self.cuda = entry["cuda"]
        self.constraints = entry["constraints"]
        # CuPy finds the headers of the toolkit (cuda_fp16.h) by itself.
        source = (folder / self.cuda["file"]).read_text()
        self.module = cupy.RawModule(code=source, options=("-std=c++17",))

    def __call__(self, params, results, dims):
        """Arrays on the GPU in the order of the signature, encoded ones as their fields."""
        for c in self.constraints:
            if value(c["poly"], dims) % c["modulus"]:
                raise ValueError(f"{c['text']} must be a multiple of {c['modulus']}: {c['reason']}")
        given = iter([*params, *results])
        buffers = []
        for b in self.cuda["buffers"]:
            if b["role"] in ("param", "result"):
                buffers.append(next(given))
            elif b["role"] == "temp":
                buffers.append(cupy.empty(max(1, value(b["bytes"], dims)), dtype=cupy.uint8))
            else:
                raise NotImplementedError("this kernel has tables: use the launchers in C")
        for launch in self.cuda["launches"]:
            grid = tuple(value(g, dims) for g in launch["grid"])
            if all(value(w, dims) > 0 for w in launch["when"]) and all(g > 0 for g in grid):
                arguments = [buffers[b] for b in launch["buffers"]]
                arguments += [cupy.int32(dims[d]) for d in launch["dims"]]
                function = self.module.get_function(launch["name"])
                function(grid, tuple(launch["block"]), tuple(arguments))


if __name__ == "__main__":
    quantize, linear = Kernel("quantize"), Kernel("linear")
    n, k = 256, 512
    weight = cupy.random.standard_normal((n, k), dtype=cupy.float32)
    scale = cupy.empty((n, k // 16), dtype=cupy.float16)
    codes = cupy.empty((n, k // 2), dtype=cupy.uint8)
    quantize([weight], [scale, codes], {"N": n, "K": k})
    for m in (1, 7, 64):
        x = cupy.random.standard_normal((m, k), dtype=cupy.float32)
        y = cupy.empty((m, n), dtype=cupy.float32)
        linear([x, scale, codes], [y], {"M": m, "N": n, "K": k})
        wanted = x @ weight.T
        error = cupy.linalg.norm(y - wanted) / cupy.linalg.norm(wanted)
        print(f"{m} rows: relative error {float(error):.3f} at 5 bits a weight")
