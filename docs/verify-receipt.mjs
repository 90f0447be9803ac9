// Verifies the signature of a deletion receipt: node docs/verify-receipt.mjs https://matrix.example.org receipt.json
import { createPublicKey, verify } from 'node:crypto'
import { readFileSync } from 'node:fs'

// Canonical JSON: keys sorted, nothing between the tokens.
const canonical = (v) => Array.isArray(v) ? `[${v.map(canonical)}]`
  : v && typeof v === 'object' ? `{${Object.keys(v).sort().map((k) => `${JSON.stringify(k)}:${canonical(v[k])}`)}}`
  : JSON.stringify(v)

const [url, file] = process.argv.slice(2)
const { signatures, unsigned, ...receipt } = JSON.parse(readFileSync(file, 'utf8'))
const keys = await (await fetch(`${url}/_matrix/key/v2/server`)).json()
const [id, signature] = Object.entries(signatures[keys.server_name] ?? {})[0] ?? []
const key = keys.verify_keys[id] ?? keys.old_verify_keys?.[id]
if (!key) throw new Error(`${keys.server_name} has not signed this receipt with a key that it knows`)
// An Ed25519 key in the form that crypto reads.
const der = Buffer.concat([Buffer.from('302a300506032b6570032100', 'hex'), Buffer.from(key.key, 'base64')])
const publicKey = createPublicKey({ key: der, format: 'der', type: 'spki' })
if (!verify(null, Buffer.from(canonical(receipt)), publicKey, Buffer.from(signature, 'base64'))) throw new Error('the signature is wrong')
console.log(`${receipt.content_uri}: deleted under the rule ${receipt.rule}, signed by ${keys.server_name} with ${id}`)
