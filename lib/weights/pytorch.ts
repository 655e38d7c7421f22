/**
 * PyTorch checkpoints, opened without running anything from them: the zip archives that torch.save has written since 1.6,
 * and the older form, five pickles one after another with the storages behind them.
 */
import { type NativeTensor, native, plain, StarError } from '../native/index.js'
import { type PickleValue, pickleGlobals, type UnpickleOptions, unpickle } from '../pickle/index.js'
import { bytesOf, elementSizes } from './stored-tensor.js'
import { storagesByKey, type TorchStorage, torchGlobals } from './torch-pickle.js'
import { readZip, type ZipEntry } from './zip.js'

export interface TorchFile {
  map: NativeTensor
  root: PickleValue
  /** First byte of each storage. */
  begins: ReadonlyMap<TorchStorage, number>
}

/** Longest pickle that is read: a state dict takes about 200 bytes a tensor. */
const maxPickle = 1 << 26
const magic = 0x1950a86a20f9469cfc6cn
const legacyProtocol = 1001
const expected =
  'A checkpoint holds tensors, numbers, texts, lists and dictionaries only: save the state_dict() of the model'

const damaged = (file: string, detail: string): StarError =>
  new StarError('ERR_FILE', `${file} is not a valid PyTorch file: ${detail}. Download or write it again`)
const refused = (file: string, detail: string): StarError =>
  new StarError('ERR_FILE', `${file} cannot be read: ${detail}. Save it again with torch.save`)

/** Whether a file begins as one of the two forms does. */
export function looksLikeTorch(head: Uint8Array): boolean {
  const begins = (...bytes: number[]): boolean => bytes.every((byte, i) => head[i] === byte)
  // An empty archive or one in parts begins with other letters after PK; a pickle with its protocol and the magic number.
  return begins(0x50, 0x4b) || (begins(0x80) && (head[2] === 0x8a || head[2] === 0x95))
}

/**
 * Opens a checkpoint: reads its pickle and finds its storages. The caller releases the map.
 * @throws ERR_FILE when it is cut off, inconsistent, compressed, or names anything that a state dict does not need
 */
export function openTorch(file: string): TorchFile {
  const map = native.mapFile(file)
  try {
    const isZip = map.shape()[0] >= 2 && new Uint8Array(bytesOf(map, 0, 2)).join() === '80,75'
    return { map, ...(isZip ? openArchive(file, map) : openLegacy(file, map)) }
  } catch (error) {
    map.release()
    throw error
  }
}

function openArchive(file: string, map: NativeTensor): Omit<TorchFile, 'map'> {
  const fail = (detail: string): StarError => damaged(file, detail)
  const entries = readZip(map, fail, (detail) => refused(file, detail))
  const pickles = [...entries.keys()].filter((name) => /^[^/]+\/data\.pkl$/.test(name))
  if (pickles.length !== 1)
    throw new StarError(
      'ERR_FILE',
      `${file} is a zip archive but no PyTorch checkpoint: it holds ${pickles.length} entries NAME/data.pkl, expected one. ` +
        'Give the path of a file that torch.save wrote',
    )
  const folder = pickles[0].slice(0, -'data.pkl'.length)
  if (entries.has(`${folder}constants.pkl`))
    throw refused(file, 'it holds a TorchScript program, not the state dict of a model')
  const content = ({ begin, end }: ZipEntry): Uint8Array => new Uint8Array(bytesOf(map, begin, end))
  const order = entries.get(`${folder}byteorder`)
  if (order && (order.end - order.begin > 16 || Buffer.from(content(order)).toString('latin1') !== 'little'))
    throw refused(file, 'its numbers are big-endian')
  const entry = entries.get(pickles[0]) as ZipEntry
  if (entry.end - entry.begin > maxPickle)
    throw fail(`its data.pkl takes ${entry.end - entry.begin} bytes, at most ${maxPickle} are read`)
  const { storages, persistent } = storagesByKey()
  const options = { source: file, expected, globals: torchGlobals, persistent }
  const { value: root } = unpickle(content(entry), options)
  const begins = new Map<TorchStorage, number>()
  for (const storage of storages.values()) {
    const data = entries.get(`${folder}data/${storage.key}`)
    const bytes = storage.count * elementSizes[storage.dtype]
    if (!data) throw fail(`the entry data/${plain(storage.key)} is missing`)
    if (data.end - data.begin < bytes)
      throw fail(`storage ${plain(storage.key)} takes ${bytes} bytes, its entry holds ${data.end - data.begin}`)
    begins.set(storage, data.begin)
  }
  return { root, begins }
}

function openLegacy(file: string, map: NativeTensor): Omit<TorchFile, 'map'> {
  const size = map.shape()[0]
  const head = new Uint8Array(bytesOf(map, 0, Math.min(size, maxPickle)))
  let position = 0
  const next = (options: Partial<UnpickleOptions>): PickleValue => {
    const { value, end } = unpickle(head, {
      ...{ source: file, expected, globals: pickleGlobals([]), start: position },
      ...options,
    })
    position = end
    return value
  }
  if (next({ expected: 'Give the path of a file that torch.save wrote' }) !== magic)
    throw new StarError(
      'ERR_FILE',
      `${file} is no PyTorch checkpoint: it is a pickle without the mark of torch.save. ${expected}`,
    )
  const protocol = next({})
  if (protocol !== legacyProtocol)
    throw damaged(
      file,
      `its protocol is ${typeof protocol === 'number' ? protocol : 'no number'}, expected ${legacyProtocol}`,
    )
  const system = next({})
  if (!(system instanceof Map) || system.get('little_endian') !== true)
    throw refused(file, 'it does not say that its numbers are little-endian')
  const { storages, persistent } = storagesByKey()
  const root = next({ globals: torchGlobals, persistent })
  const keys = next({})
  if (!Array.isArray(keys)) throw damaged(file, 'the list of its storages is missing')
  const begins = new Map<TorchStorage, number>()
  for (const key of keys) {
    const storage = storages.get(key as string)
    if (!storage || begins.has(storage)) throw damaged(file, `its list of storages is not that of its tensors`)
    if (position + 8 > size) throw damaged(file, `it ends before storage ${plain(storage.key)}, so it was cut off`)
    const [low, high] = new Uint32Array(bytesOf(map, position, position + 8))
    if (low + high * 2 ** 32 !== storage.count)
      throw damaged(file, `storage ${plain(storage.key)} has two sizes, ${low + high * 2 ** 32} and ${storage.count}`)
    position += 8
    begins.set(storage, position)
    position += storage.count * elementSizes[storage.dtype]
    if (position > size)
      throw damaged(
        file,
        `storage ${plain(storage.key)} ends at byte ${position}, but the file has ${size}, so it was cut off`,
      )
  }
  if (begins.size !== storages.size) throw damaged(file, 'its list of storages lacks some of its tensors')
  return { root, begins }
}
