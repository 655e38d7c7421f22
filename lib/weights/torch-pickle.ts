/** What the pickles of PyTorch name beside plain values: storages, and the functions that make tensors of them. */
import {
  bytesGlobals,
  PickleGlobal,
  PickleObject,
  PickleTuple,
  type PickleValue,
  pickleGlobals,
} from '../pickle/index.js'
import { countOf } from '../tensor/index.js'
import { type ElementType, elementSizes, maxRank, reachOf } from './stored-tensor.js'

/** A run of elements outside the pickle, shared by the tensors that are views of it. */
export class TorchStorage extends PickleObject {
  readonly kind = 'storage'
  constructor(
    readonly key: string,
    readonly dtype: ElementType,
    /** Number of elements. */
    readonly count: number,
  ) {
    super()
  }
}

export class TorchTensor extends PickleObject {
  readonly kind = 'tensor'
  constructor(
    readonly storage: TorchStorage,
    /** First element. */
    readonly offset: number,
    readonly shape: readonly number[],
    readonly strides: readonly number[],
  ) {
    super()
  }
}

const storageTypes: Readonly<Record<string, ElementType>> = {
  FloatStorage: 'F32',
  HalfStorage: 'F16',
  BFloat16Storage: 'BF16',
  DoubleStorage: 'F64',
  LongStorage: 'I64',
  IntStorage: 'I32',
  ShortStorage: 'I16',
  CharStorage: 'I8',
  ByteStorage: 'U8',
  BoolStorage: 'BOOL',
}
const dtypeOfStorage = new Map(
  Object.entries(storageTypes).map(([name, dtype]) => [new PickleGlobal(`torch ${name}`), dtype] as const),
)
/** Types that may stand in a dictionary of settings. */
const dtypeNames =
  'float32 float float16 half bfloat16 float64 double int64 long int32 int int16 int8 uint8 bool'.split(' ')

const isIndex = (value: unknown): value is number => Number.isSafeInteger(value) && (value as number) >= 0
const indices = (value: PickleValue): number[] | undefined =>
  value instanceof PickleTuple && value.items.length <= maxRank && value.items.every(isIndex)
    ? (value.items as number[])
    : undefined

/** (storage, offset, shape, strides, …): what follows says whether gradients are wanted, which a file cannot decide. */
function rebuildTensor([storage, offset, size, stride]: readonly PickleValue[]): TorchTensor | undefined {
  const shape = indices(size)
  const strides = indices(stride)
  if (!(storage instanceof TorchStorage) || !isIndex(offset) || !shape || !strides || shape.length !== strides.length)
    return undefined
  if (countOf(shape) === 0) return new TorchTensor(storage, 0, shape, strides)
  return offset + reachOf(shape, strides) < storage.count ? new TorchTensor(storage, offset, shape, strides) : undefined
}

const rebuildParameter = ([data]: readonly PickleValue[]): TorchTensor | undefined =>
  data instanceof TorchTensor ? data : undefined

/** OrderedDict() or OrderedDict([(key, value), …]). */
function orderedDict(args: readonly PickleValue[]): Map<string, PickleValue> | undefined {
  const [pairs] = args
  if (args.length === 0) return new Map()
  if (args.length > 1 || !Array.isArray(pairs)) return undefined
  const dict = new Map<string, PickleValue>()
  for (const pair of pairs) {
    const items = pair instanceof PickleTuple ? pair.items : Array.isArray(pair) ? pair : []
    const [key, value] = items
    if (items.length !== 2 || typeof key !== 'string') return undefined
    dict.set(key, value)
  }
  return dict
}

/** device('cuda:0') or device('cuda', 0), as a text. */
function device(args: readonly PickleValue[]): string | undefined {
  const [type, index] = args
  if (typeof type !== 'string' || args.length > 2) return undefined
  if (index === undefined || index === null) return type
  return isIndex(index) ? `${type}:${index}` : undefined
}

/** All names that a state dict may use. */
export const torchGlobals = pickleGlobals([
  ...bytesGlobals,
  ...dtypeOfStorage.keys(),
  ...dtypeNames.map((name) => new PickleGlobal(`torch ${name}`)),
  new PickleGlobal('collections OrderedDict', orderedDict),
  new PickleGlobal('torch._utils _rebuild_tensor', rebuildTensor),
  new PickleGlobal('torch._utils _rebuild_tensor_v2', rebuildTensor),
  new PickleGlobal('torch._utils _rebuild_parameter', rebuildParameter),
  new PickleGlobal('torch._utils _rebuild_parameter_with_state', rebuildParameter),
  new PickleGlobal('torch Size', ([sizes]) => (sizes instanceof PickleTuple ? sizes : undefined)),
  new PickleGlobal('torch device', device),
])

/** The storage of a persistent id ('storage', type, key, device, count[, null]); one object a key. */
export function storagesByKey(): {
  storages: Map<string, TorchStorage>
  persistent: (id: PickleValue) => TorchStorage | undefined
} {
  const storages = new Map<string, TorchStorage>()
  const persistent = (id: PickleValue): TorchStorage | undefined => {
    if (!(id instanceof PickleTuple)) return undefined
    const [tag, type, key, , count, view] = id.items
    const dtype = type instanceof PickleGlobal ? dtypeOfStorage.get(type) : undefined
    const plain = view === undefined || view === null
    if (tag !== 'storage' || !dtype || typeof key !== 'string' || !isIndex(count) || !plain) return undefined
    const known = storages.get(key)
    if (known) return known.dtype === dtype && known.count === count ? known : undefined
    if (!Number.isSafeInteger(count * elementSizes[dtype])) return undefined
    const storage = new TorchStorage(key, dtype, count)
    storages.set(key, storage)
    return storage
  }
  return { storages, persistent }
}
