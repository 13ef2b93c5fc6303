"""Builds `lape.kernels._C`, and puts the workflow's files into the wheel; all metadata lives in pyproject.toml.

An extension runs with the torch that it was compiled for, and with no other. A wheel therefore asks for that torch.

The CUDA kernels are built where torch was built for CUDA and a matching toolkit is installed, whether or not
a GPU is visible; the C++ extension alone is built elsewhere. LAPE_CUDA=0 leaves CUDA out, LAPE_CUDA=1 makes
its absence an error.
"""

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

from setuptools import Distribution, setup
from setuptools.command.build_py import build_py

try:
    import torch
except ImportError:
    sys.exit(
        "lape: torch is missing, and the extension is compiled against it; install it first (pip install torch), or "
        "leave out --no-build-isolation"
    )
from torch.utils.cpp_extension import CUDA_HOME, BuildExtension, CppExtension, CUDAExtension

sys.path.insert(0, str(Path(__file__).parent))  # a build front end does not put it there

from lape.artifacts.shipped import FOLDER, SHIPPED
from lape.kernels.source_hash import source_hash

_OPERATORS = ("stats", "glu", "edit", "nll", "average_precision")
CPP = [f"csrc/{name}.cpp" for name in ("module", "simd", "eager_activation", *(f"{name}_cpu" for name in _OPERATORS))]
CUDA = ["csrc/cuda_binding.cpp", *(f"csrc/{name}_kernel.cu" for name in ("stats", "glu", "edit", "nll"))]


def nvcc_version() -> tuple[int, int] | None:
    """Version of the toolkit's compiler, None where there is none that runs or its headers are elsewhere."""
    # torch guesses CUDA_HOME from nvcc on the path, which may be a link from another folder.
    if CUDA_HOME is None or not Path(CUDA_HOME, "include", "cuda_runtime_api.h").exists():
        return None
    try:
        text = subprocess.run([Path(CUDA_HOME, "bin", "nvcc"), "--version"], capture_output=True, text=True).stdout
    except OSError:
        return None
    found = re.search(r"release (\d+)\.(\d+)", text)
    return (int(found[1]), int(found[2])) if found else None


def obstacle(toolkit: tuple[int, int] | None) -> str | None:
    """Why the CUDA kernels cannot be built here, None where they can."""
    if torch.version.cuda is None:
        return f"this torch is a {'ROCm' if torch.version.hip else 'CPU'} build"
    if toolkit is None:
        return f"no CUDA toolkit with nvcc and headers in {CUDA_HOME or 'the usual places'}; set CUDA_HOME"
    # Minor versions of one major version work together; torch refuses anything else.
    if toolkit[0] != int(torch.version.cuda.split(".")[0]):
        return f"nvcc is CUDA {toolkit[0]}.{toolkit[1]} and torch was built for CUDA {torch.version.cuda}"
    return None


def with_cuda(toolkit: tuple[int, int] | None) -> bool:
    """Decide what to build, and say so in one line."""
    wish = os.environ.get("LAPE_CUDA", "")
    if wish not in ("", "0", "1"):
        sys.exit(f"lape: LAPE_CUDA={wish} means nothing; set it to 0 or 1, or unset it")
    reason = "LAPE_CUDA=0" if wish == "0" else obstacle(toolkit)
    if reason is None:
        print(f"lape: building the C++ and CUDA extension (CUDA {toolkit[0]}.{toolkit[1]})", file=sys.stderr)
    elif wish == "1":
        sys.exit(f"lape: LAPE_CUDA=1, but CUDA cannot be built: {reason}")
    else:
        print(f"lape: building the C++ extension only: {reason}", file=sys.stderr)
    return reason is None


def extension() -> CppExtension:
    """The extension with the flags of this platform."""
    toolkit = nvcc_version()
    cuda = with_cuda(toolkit)
    if sys.platform == "win32":  # never tried
        flags, openmp = ["/O2", "/openmp"], []
    else:
        flags = ["-O3", "-g0", "-fno-math-errno", "-fno-trapping-math", "-Wall"]
        # at::parallel_for runs serially in a file compiled without OpenMP; Apple's compiler has none.
        openmp = [] if sys.platform == "darwin" else ["-fopenmp"]
    options = {
        "define_macros": [("LAPE_SOURCE", f'"{source_hash("csrc")}"')],
        "extra_compile_args": {"cxx": flags + openmp, "nvcc": ["-O3"]},
        "extra_link_args": openmp,
        "depends": sorted(str(path) for path in Path("csrc").iterdir()),
    }
    if not cuda:
        return CppExtension("lape.kernels._C", CPP, **options)
    if "TORCH_CUDA_ARCH_LIST" not in os.environ and not torch.cuda.is_available():
        blackwell = ";10.0" if toolkit >= (12, 8) else ""
        os.environ["TORCH_CUDA_ARCH_LIST"] = f"8.0;8.6;9.0{blackwell}+PTX"
    options["define_macros"].append(("LAPE_CUDA", None))
    return CUDAExtension("lape.kernels._C", CPP + CUDA, **options)


class WithWorkflow(build_py):
    """Copies the files of `SHIPPED` into the package; an editable install reads them where they are."""

    def run(self) -> None:
        super().run()
        if self.editable_mode:
            return
        folder = Path(self.build_lib, FOLDER.relative_to(Path(__file__).resolve().parent))
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir(parents=True)
        for name in SHIPPED:
            copy = shutil.copytree if Path(name).is_dir() else shutil.copy2
            copy(name, folder / name)


class ForThisTorch(Distribution):
    """Asks for the torch that the extension is compiled against, in place of any that is new enough."""

    def parse_config_files(self, *arguments, **keywords) -> None:
        super().parse_config_files(*arguments, **keywords)
        own = f"torch=={torch.__version__.split('+')[0]}"
        needs = [own if need.startswith("torch>") else need for need in self.install_requires]
        self.install_requires = self.metadata.install_requires = needs


setup(
    distclass=ForThisTorch,
    ext_modules=[extension()],
    cmdclass={"build_ext": BuildExtension, "build_py": WithWorkflow},
)
