/** Nested dictionaries of tensors as one flat list: names are the keys on the way, joined by dots. */
import { quoted, StarError } from '../native/index.js'
import {
  isPickleKey,
  PickleGlobal,
  type PickleKey,
  PickleObject,
  PickleTuple,
  type PickleValue,
} from '../pickle/index.js'
import { countOf } from '../tensor/index.js'
import { openTorch, type TorchFile } from './pytorch.js'
import { denseStrides, elementSizes, type StoredTensor } from './stored-tensor.js'
import { TorchTensor } from './torch-pickle.js'

const maxDepth = 64
const maxName = 1000
const maxNodes = 1_000_000
/** A tensor that repeats elements may take this much more than the file itself. */
const repetitionAllowance = 1 << 20
/** Views may share storages; all tensors together take at most so many times the file, and a little for small ones. */
const maxSharing = 16
const sharingAllowance = 1 << 26

export interface StateDict {
  tensors: StoredTensor[]
  /** Numbers, texts and nulls by name: settings and counters. */
  values: Map<string, PickleKey>
}

function isDense({ shape, strides }: TorchTensor): boolean {
  const dense = denseStrides(shape)
  return countOf(shape) === 0 || shape.every((d, i) => d === 1 || strides[i] === dense[i])
}

/** Keys and values of a dictionary, indices and items of a list or tuple. */
function childrenOf(value: PickleValue): Iterable<readonly [PickleKey, PickleValue]> | undefined {
  if (value instanceof Map) return value
  if (value instanceof PickleTuple) return value.items.entries()
  return Array.isArray(value) ? value.entries() : undefined
}

class Flattener {
  readonly tensors: StoredTensor[] = []
  readonly values = new Map<string, PickleKey>()
  readonly #file: string
  readonly #torch: TorchFile
  readonly #fileSize: number
  readonly #names = new Set<string>()
  #nodes = 0
  #bytes = 0

  constructor(file: string, torch: TorchFile) {
    this.#file = file
    this.#torch = torch
    this.#fileSize = torch.map.shape()[0]
  }

  #refuse(detail: string): never {
    throw new StarError('ERR_FILE', `${this.#file} cannot be read: ${detail}. Save the state_dict() of the model`)
  }

  visit(value: PickleValue, path: readonly string[]): void {
    // A value may stand in many places, or in itself, so places are counted, not values.
    if (++this.#nodes > maxNodes) this.#refuse(`it has more than ${maxNodes} entries`)
    if (path.length > maxDepth) this.#refuse(`its dictionaries are nested more than ${maxDepth} deep`)
    const children = childrenOf(value)
    if (children) for (const [key, inner] of children) this.visit(inner, [...path, this.#key(key)])
    else if (value instanceof TorchTensor) this.#tensor(this.#name(path), value)
    else if (value instanceof PickleGlobal) this.values.set(this.#name(path), value.kind.replace(' ', '.'))
    else if (isPickleKey(value)) this.values.set(this.#name(path), value)
    else if (value instanceof Uint8Array) this.values.set(this.#name(path), Buffer.from(value).toString('latin1'))
    else if (value instanceof PickleObject)
      this.#refuse(`it holds a ${value.kind} by itself, under ${quoted(this.#name(path))}`)
  }

  #key(key: PickleKey): string {
    const text = String(key)
    if (text.length > maxName) this.#refuse(`a key in it has ${text.length} characters, at most ${maxName} are read`)
    return text
  }

  #name(path: readonly string[]): string {
    const name = path.join('.')
    if (name.length > maxName) this.#refuse(`a name in it has ${name.length} characters, at most ${maxName} are read`)
    if (this.#names.has(name)) this.#refuse(`two values in it have the name ${quoted(name)}`)
    this.#names.add(name)
    return name
  }

  #tensor(name: string, tensor: TorchTensor): void {
    const { storage, offset, shape } = tensor
    const size = elementSizes[storage.dtype]
    const bytes = countOf(shape) * size
    const where = `tensor ${quoted(name)} of shape (${shape.join(', ')})`
    if (bytes > Math.max(this.#fileSize, repetitionAllowance))
      this.#refuse(`${where} takes ${bytes} bytes, more than the ${this.#fileSize} of the file`)
    this.#bytes += bytes
    if (this.#bytes > maxSharing * this.#fileSize + sharingAllowance)
      this.#refuse(`its tensors take more than ${maxSharing} times the ${this.#fileSize} bytes of the file`)
    this.tensors.push({
      name,
      dtype: storage.dtype,
      shape,
      file: this.#file,
      map: this.#torch.map,
      begin: (this.#torch.begins.get(storage) as number) + offset * size,
      strides: isDense(tensor) ? null : tensor.strides,
    })
  }
}

/**
 * Opens a PyTorch checkpoint as a flat list of tensors and values. The caller releases the map.
 * @throws ERR_FILE as `openTorch`; for a file whose tensors would take far more memory than the file itself
 */
export function openStateDict(file: string): StateDict & Pick<TorchFile, 'map'> {
  const torch = openTorch(file)
  try {
    const flat = new Flattener(file, torch)
    flat.visit(torch.root, [])
    return { map: torch.map, tensors: flat.tensors, values: flat.values }
  } catch (error) {
    torch.map.release()
    throw error
  }
}
