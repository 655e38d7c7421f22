/** Options of the commands that start a server: where it listens, and who may ask. */
import { type Command, Option } from 'commander'
import { wholeNumber } from './options.js'

export interface ListenFlags {
  host: string
  port: number
  apiKey?: string
  allowHost?: string[]
}

export function addListenOptions(command: Command, port: number): Command {
  return command
    .option('--host <address>', 'address to listen at; 0.0.0.0 lets other machines ask, with --api-key', '127.0.0.1')
    .option('-p, --port <port>', 'port to listen at; 0: a free one', wholeNumber('--port', 0, 65535), port)
    .addOption(
      new Option('--api-key <key>', 'what clients have to show, as bearer token or as password').env('STAR_API_KEY'),
    )
    .option('--allow-host <name...>', 'further names of this server, as that of a reverse proxy before it')
}

export const listenOptions = ({ host, port, apiKey, allowHost }: ListenFlags) => ({
  host,
  port,
  apiKey,
  allowHosts: allowHost,
})
