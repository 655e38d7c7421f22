/**
 * Scopes free what was made inside them. Native memory is not the garbage collector's: a training step makes gigabytes
 * before it would run, so every tensor belongs to the scope it was made in until it is disposed or kept.
 */
export interface Disposable {
  dispose(): void
}

const stack: Set<Disposable>[] = []

/** Adds a tensor to the innermost scope, if there is one. */
export function track(value: Disposable): void {
  stack.at(-1)?.add(value)
}

/** Takes a value out of every scope: from now on its owner disposes it. */
export function keep<T extends Disposable>(value: T): T {
  for (const scope of stack) scope.delete(value)
  return value
}

/** Drops a disposed value from the scopes. */
export function untrack(value: Disposable): void {
  for (let i = stack.length - 1; i >= 0; i--) if (stack[i].delete(value)) return
}

function* tensorsIn(value: unknown, depth = 0): Generator<Disposable> {
  if (value === null || typeof value !== 'object' || depth > 4) return
  if (isTensor(value)) yield value
  else if (Array.isArray(value)) for (const item of value) yield* tensorsIn(item, depth + 1)
  else if (Object.getPrototypeOf(value) === Object.prototype)
    for (const item of Object.values(value)) yield* tensorsIn(item, depth + 1)
}

const tensorMark = Symbol('star.tensor')

export { tensorMark }

function isTensor(value: object): value is Disposable {
  return tensorMark in value
}

/**
 * Runs `fn` and disposes every tensor made inside it, except those it returns (a tensor, or arrays and plain objects of
 * tensors), which pass to the enclosing scope.
 * @throws whatever `fn` throws, after disposing; a promise is refused, since a scope cannot outlive its call
 */
export function scope<T>(fn: () => T): T {
  const own = new Set<Disposable>()
  stack.push(own)
  let result: T
  try {
    result = fn()
    if (result instanceof Promise)
      throw new TypeError('scope: the function returned a promise; a scope takes synchronous work only')
    for (const tensor of tensorsIn(result)) {
      if (own.delete(tensor)) stack.at(-2)?.add(tensor)
    }
  } finally {
    stack.pop()
    for (const tensor of own) tensor.dispose()
  }
  return result
}
