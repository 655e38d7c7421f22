/**
 * The state of the reference implementation's AdamW in a checkpoint (`trainer.var_opt.optimizer`), read and written. PyTorch
 * numbers parameters group by group, within a group in the order of the module's, which is that of its state dict. Of a
 * transformer there is a group with weight decay and one without; of a sampler head, each parameter is a group.
 */
import { samplerHeadNames } from '../../models/star/index.js'
import { StarError } from '../../native/index.js'
import { noWeightDecay } from '../../optim/index.js'
import { scope, type Tensor } from '../../tensor/index.js'
import {
  openWeights,
  TorchTuple,
  type TorchValue,
  torchDict,
  torchStateDict,
  type Weights,
  type WritableTensor,
  writables,
} from '../../weights/index.js'
import type { OptimizerConfig } from '../config/optimizer.js'

const weightsKey = 'trainer.var_wo_ddp'
const optimizerKey = 'trainer.var_opt.optimizer'
/** Tensors among the weights of a transformer that no optimizer steps. */
const buffers = /(^|\.)(lvl_1L|attn_bias_for_masking|freqs_cis|zero_k_bias)$/

interface Shaped {
  name: string
  shape: readonly number[]
}

/** A group of parameters of the reference's AdamW. */
interface Group {
  decays: boolean
  /** Factors that schedules multiply by: of weight decay and of the learning rate. */
  factors: { wd_sc: number; lr_sc: number } | null
  names: string[]
}

/** Those with weight decay and those without, in the order in which the reference makes them: each when its first parameter comes. */
function groupsByDecay(parameters: Iterable<Shaped>): Group[] {
  const groups: Group[] = []
  for (const { name, shape } of parameters) {
    const decays = !noWeightDecay(name, shape)
    const group = groups.find((one) => one.decays === decays)
    if (group) group.names.push(name)
    else groups.push({ decays, factors: { wd_sc: decays ? 1 : 0, lr_sc: 1 }, names: [name] })
  }
  return groups
}

/** One for each, all with weight decay. */
const groupsOfOne = (parameters: readonly Shaped[]): Group[] =>
  parameters.map(({ name }) => ({ decays: true, factors: null, names: [name] }))

/** Of a training of the reference, besides the weights. */
export interface ReferenceTraining {
  /** Epochs that are done. */
  epoch: number
  optimizer: {
    step: number
    /** AdamW's moments, named `parameter.exp_avg` and `parameter.exp_avg_sq`; in the current scope. */
    moments(): Map<string, Tensor>
  }
}

/**
 * What a checkpoint of the reference holds of its training; null where there is no optimizer state. That of a sampler head
 * numbers the head's parameters alone.
 * @throws ERR_FILE where numbers and weights do not fit
 */
export function openReferenceTraining(path: string): ReferenceTraining | null {
  using file = openWeights(path)
  const numbers = numbersOf(file)
  if (numbers.length === 0) return null
  const prefix = `${weightsKey}.`
  const parameters = Array.from(file.entries).flatMap(({ name, shape }): Shaped[] =>
    name.startsWith(prefix) && !buffers.test(name) ? [{ name: name.slice(prefix.length), shape }] : [],
  )
  const sizes = (groups: readonly { length: number }[]): string => groups.map(({ length }) => length).join(' and ')
  const head = parameters.filter(({ name }) => samplerHeadNames.test(name))
  const groups = [groupsByDecay(parameters), groupsOfOne(head)]
    .map((these) => these.map(({ names }) => names))
    .find((names) => sizes(names) === sizes(numbers))
  if (!groups)
    throw new StarError(
      'ERR_FILE',
      `${path}: its optimizer has groups of ${sizes(numbers)} parameters, its weights make ${sizes(groupsByDecay(parameters).map(({ names }) => names))}: ` +
        'begin with the weights alone (start.optimizer "reset")',
    )
  const names = new Map(numbers.flatMap((group, g) => group.map((number, i) => [number, groups[g][i]] as const)))
  return {
    epoch: numberOf(file, 'epoch'),
    optimizer: { step: stepOf(file), moments: () => momentsOf(path, names) },
  }
}

/** The numbers of the parameters of each group. */
function numbersOf({ values }: Weights): number[][] {
  const groups: number[][] = []
  for (let g = 0; values.has(`${optimizerKey}.param_groups.${g}.params.0`); g++) {
    const numbers: number[] = []
    for (let i = 0; values.has(`${optimizerKey}.param_groups.${g}.params.${i}`); i++)
      numbers.push(Number(values.get(`${optimizerKey}.param_groups.${g}.params.${i}`)))
    groups.push(numbers)
  }
  return groups
}

function numberOf(file: Weights, key: string, value: unknown = file.values.get(key) ?? 0): number {
  if (typeof value === 'number' && Number.isSafeInteger(value) && value >= 0) return value
  throw new StarError('ERR_FILE', `${file.path}: "${key}" is ${String(value)}, expected a whole number`)
}

/** Steps that AdamW took: a number in checkpoints of earlier PyTorch, a tensor of one in later ones. */
function stepOf(file: Weights): number {
  const isStep = (name: string): boolean => name.startsWith(`${optimizerKey}.state.`) && name.endsWith('.step')
  const number = [...file.values.keys()].find(isStep)
  if (number !== undefined) return numberOf(file, number)
  const tensor = file.names.find(isStep)
  if (tensor !== undefined) return scope(() => numberOf(file, tensor, file.tensor(tensor).floats()[0]))
  throw new StarError('ERR_FILE', `${file.path}: its optimizer took no step: begin with the weights alone`)
}

function momentsOf(path: string, names: ReadonlyMap<number, string>): Map<string, Tensor> {
  using state = openWeights(path, { key: `${optimizerKey}.state` })
  const moments = new Map<string, Tensor>()
  const stored = new Set(state.names)
  // Parameters that no loss depends on have none.
  for (const [number, name] of names)
    for (const moment of ['exp_avg', 'exp_avg_sq'])
      if (stored.has(`${number}.${moment}`)) moments.set(`${name}.${moment}`, state.tensor(`${number}.${moment}`))
  return moments
}

/** What the state of an optimizer is written from. */
export interface OptimizerContent {
  config: Pick<OptimizerConfig, 'learningRate' | 'betas' | 'weightDecay'>
  step: number
  /** Parameters that the reference trains, in the order of the weights. */
  parameters: readonly Shaped[]
  /** Of a sampler head. */
  head: boolean
  /** Named as by `AdamW.tensors`, whole. */
  moments: ReadonlyMap<string, Tensor>
}

/** As `torch.optim.AdamW.state_dict` gives it, with the factors that the reference keeps in its groups. */
export function optimizerState({ config, step, parameters, head, moments }: OptimizerContent): TorchValue {
  let next = 0
  const groups = (head ? groupsOfOne(parameters) : groupsByDecay(parameters)).map(({ decays, factors, names }) => ({
    decays,
    factors,
    members: names.map((name) => ({ name, number: next++ })),
  }))
  const steps: WritableTensor = {
    ...{ name: 'step', shape: [], dtype: 'f32' },
    read: () => new Uint8Array(Float32Array.of(step).buffer),
  }
  // A parameter that no loss depends on is never stepped: PyTorch keeps no state of it.
  const stateOf = (name: string): TorchValue | null => {
    const own = ['exp_avg', 'exp_avg_sq'].flatMap((moment) => {
      const tensor = moments.get(`${name}.${moment}`)
      return tensor ? [[moment, tensor] as const] : []
    })
    return own.length === 0 ? null : new Map<string, TorchValue>([['step', steps], ...torchStateDict(writables(own))])
  }
  return torchDict({
    state: new Map(
      groups.flatMap(({ members }) =>
        members.flatMap(({ name, number }) => {
          const state = stateOf(name)
          return state ? [[number, state] as const] : []
        }),
      ),
    ),
    param_groups: groups.map(({ decays, factors, members }) =>
      torchDict({
        lr: config.learningRate,
        betas: new TorchTuple(config.betas),
        eps: 1e-8,
        weight_decay: decays ? config.weightDecay : 0,
        amsgrad: false,
        maximize: false,
        foreach: null,
        capturable: false,
        differentiable: false,
        fused: null,
        ...factors,
        params: members.map(({ number }) => number),
      }),
    ),
  })
}
