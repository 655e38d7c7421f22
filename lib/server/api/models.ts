/** GET /v1/models: OpenAI's list, with what people need to know to draw with a model. */
import { offeredSizes } from '../../picture-size.js'
import { samplingSettings } from '../../sampling/index.js'
import type { ModelPool, PooledModel } from '../draw/pool.js'
import type { Operations } from '../http/operation.js'
import { modelSchema, modelsAnswer } from './image-schemas.js'

function described({ id, source, info, card, state, added, loras }: PooledModel) {
  const defaults = info && samplingSettings(info.sampling)
  return {
    id,
    object: 'model' as const,
    created: added,
    owned_by: 'star-t2i',
    state,
    source,
    image_size: info?.imageSize ?? null,
    sizes: info ? offeredSizes(info).map(({ width, height }) => `${width}x${height}`) : [],
    loras: loras.map(({ name, strength, path }) => ({ name, strength, source: path })),
    scales: info?.scales.length ?? null,
    defaults: defaults && {
      cfg: defaults.cfg,
      top_k: defaults.topK,
      top_p: defaults.topP,
      speed: typeof defaults.speed === 'string' ? defaults.speed : null,
    },
    ...card,
  }
}

export function addModels(operations: Operations, pool: ModelPool): void {
  operations.add(
    { method: 'GET', url: '/v1/models', tag: 'Models', summary: 'The models of this server', answer: modelsAnswer },
    async () => ({ object: 'list', data: pool.models.map(described) }),
  )
  operations.add(
    {
      method: 'GET',
      url: '/v1/models/:id',
      tag: 'Models',
      summary: 'One model',
      answer: modelSchema,
      statuses: [404],
    },
    async (_, request) => described(pool.find((request.params as { id: string }).id)),
  )
}
