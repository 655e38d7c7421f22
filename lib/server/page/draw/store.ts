/** The gallery of this browser: pictures with what they were made with, in IndexedDB. */
import type { Settings } from './api.js'

export interface Stored extends Settings {
  id: number
  /** Milliseconds since 1970. */
  created: number
  /** A PNG. */
  file: Blob
  /** It was made of another picture. */
  changed?: boolean
}

const name = 'star-t2i'
const table = 'pictures'

const settled = <T>(request: IDBRequest<T>): Promise<T> =>
  new Promise((resolve, reject) => {
    request.onsuccess = () => resolve(request.result)
    request.onerror = () => reject(request.error)
  })

let opened: Promise<IDBDatabase> | null = null

function open(): Promise<IDBDatabase> {
  if (!opened) {
    const request = indexedDB.open(name, 1)
    request.onupgradeneeded = () => request.result.createObjectStore(table, { keyPath: 'id', autoIncrement: true })
    opened = settled(request)
  }
  return opened
}

const inTable = async (mode: IDBTransactionMode): Promise<IDBObjectStore> =>
  (await open()).transaction(table, mode).objectStore(table)

export async function add(picture: Omit<Stored, 'id'>): Promise<Stored> {
  const id = (await settled((await inTable('readwrite')).add(picture))) as number
  return { ...picture, id }
}

/** All pictures, the newest first. */
export async function all(): Promise<Stored[]> {
  const pictures = (await settled((await inTable('readonly')).getAll())) as Stored[]
  return pictures.reverse()
}

export async function remove(ids: readonly number[]): Promise<void> {
  const store = await inTable('readwrite')
  await Promise.all(ids.map((id) => settled(store.delete(id))))
}
