import { spawnSync } from 'node:child_process'
import {
  chmodSync,
  existsSync,
  lstatSync,
  mkdirSync,
  readdirSync,
  readFileSync,
  statSync,
  writeFileSync,
} from 'node:fs'
import { join } from 'node:path'
import t from 'tap'
import { packageRoot } from '../../../lib/native/index.js'

const script = join(packageRoot, 'scripts', 'cuda-toolkit')

function toolkitAt(root: string, version: string, headers: readonly string[]): string {
  for (const folder of ['bin', 'include']) mkdirSync(join(root, folder), { recursive: true })
  const nvcc = join(root, 'bin', 'nvcc')
  writeFileSync(nvcc, `#!/bin/sh\necho "Cuda compilation tools, release ${version}, V${version}.1"\n`)
  chmodSync(nvcc, 0o755)
  for (const header of headers) writeFileSync(join(root, 'include', header), '')
  return root
}

/** What pip does in these tests; `$@` are its arguments. */
const pips = {
  missing: 'exit 1',
  offline: '[ "$3" = --version ] || { echo "ERROR: no network" >&2; exit 1; }',
  // Two small wheels in place of the real ones.
  wheels: `[ "$3" = --version ] && exit
while [ "$1" != -d ]; do shift; done
exec "$REAL_PYTHON" - "$2" <<'END'
import os, sys, zipfile
os.makedirs(sys.argv[1])
def wheel(name, members):
    with zipfile.ZipFile(os.path.join(sys.argv[1], name), 'w') as archive:
        for path, mode in members:
            info = zipfile.ZipInfo(path)
            info.external_attr = mode << 16
            archive.writestr(info, path)
wheel('nvidia_cuda_nvcc-13.whl', [('nvidia/cu13/bin/nvcc', 0o744), ('nvidia/cu13/include/a.h', 0o644),
      ('nvidia/cu13/lib/libcudart_static.a', 0o644), ('x.dist-info/RECORD', 0o644)])
wheel('nvidia_cudnn_cu13-9.whl', [('nvidia/cudnn/include/cudnn.h', 0o644), ('nvidia/cudnn/lib/libcudnn.so.9', 0o755)])
END`,
}

/** Runs the script with a python3 of our own first in PATH, so that nothing is downloaded. */
function run(folder: string, pip: keyof typeof pips, env: NodeJS.ProcessEnv) {
  const bin = join(folder, 'bin')
  mkdirSync(bin, { recursive: true })
  const real = spawnSync('sh', ['-c', 'command -v python3'], { encoding: 'utf8' }).stdout.trim()
  writeFileSync(join(bin, 'python3'), `#!/bin/sh\n[ "$1" = - ] && exec "$REAL_PYTHON" "$@"\n${pips[pip]}\n`)
  chmodSync(join(bin, 'python3'), 0o755)
  const PATH = `${bin}:${process.env.PATH}`
  const XDG_CACHE_HOME = join(folder, 'cache')
  const all = { ...process.env, CUDA_HOME: '', XDG_CACHE_HOME, ...env, PATH, REAL_PYTHON: real }
  return spawnSync(script, [], { encoding: 'utf8', env: all })
}

t.test('an installed toolkit is taken where it fits', async (t) => {
  const folder = t.testdir()
  const good = toolkitAt(join(folder, 'good'), '13.2', ['cublasLt.h', 'cudnn.h', 'nccl.h'])
  const { status, stdout, stderr } = run(folder, 'missing', { CUDA_HOME: good })
  t.equal(status, 0)
  t.equal(stdout, `${good}\n`)
  t.equal(stderr, '')
})

// What lies beside CUDA_HOME decides how these two end.
const installed = existsSync('/usr/local/cuda/bin/nvcc') && 'this machine has a CUDA toolkit'

t.test('a toolkit that does not fit is named with the reason', { skip: installed }, async (t) => {
  const folder = t.testdir()
  const old = run(folder, 'missing', {
    CUDA_HOME: toolkitAt(join(folder, 'old'), '12.4', ['cublasLt.h', 'cudnn.h', 'nccl.h']),
  })
  t.equal(old.status, 1)
  t.match(old.stderr, /old has nvcc 12\.4, 13\.x is needed: not used/)
  t.match(old.stderr, /no CUDA 13 toolkit is installed, and python3 with pip.*\n.*apt-get install python3-pip/)
  const bare = run(folder, 'missing', { CUDA_HOME: toolkitAt(join(folder, 'bare'), '13.0', ['cudnn.h']) })
  t.match(bare.stderr, /bare has nvcc 13\.0, but cublasLt\.h was not found: not used/)
})

t.test('otherwise one is made of wheels, once', { skip: installed }, async (t) => {
  const folder = t.testdir()
  const cache = join(folder, 'cache', 'star-t2i')
  const root = join(cache, 'cuda-13.0')

  const offline = run(folder, 'offline', {})
  t.equal(offline.status, 1)
  t.match(offline.stderr, /ERROR: no network\n.*could not be downloaded, see above\. Check the network/)
  t.same(readdirSync(cache), [], 'nothing is left behind')

  const made = run(folder, 'wheels', {})
  t.equal(made.stdout, `${root}\n`)
  t.equal(made.status, 0)
  t.same(readdirSync(cache), ['cuda-13.0'])
  t.equal(statSync(join(root, 'bin', 'nvcc')).mode & 0o777, 0o755, 'everybody may run it')
  t.equal(readFileSync(join(root, 'include', 'cudnn.h'), 'utf8'), 'nvidia/cudnn/include/cudnn.h')
  t.ok(lstatSync(join(root, 'lib64')).isSymbolicLink())
  t.same(readdirSync(join(root, 'lib64')), ['libcudart_static.a'], 'libraries that nothing links stay out')

  t.equal(run(folder, 'offline', {}).stdout, `${root}\n`, 'it is found again without the network')
  writeFileSync(join(root, '.wheels'), 'another list')
  t.equal(run(folder, 'offline', {}).status, 1, 'a tree of another list is not taken')
  t.equal(run(folder, 'wheels', {}).status, 0)
  t.match(readFileSync(join(root, '.wheels'), 'utf8'), /^nvidia-cuda-nvcc==13\.0\.\d+ --hash=sha256:/)
})
