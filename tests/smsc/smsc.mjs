// A short message centre for the tests: smsc.mjs --smpp PORT --control PORT --tls PORT --cert FILE --key FILE
//
// It speaks SMPP with a library of others. By HTTP on the control port a test says how it is to behave (POST /behave, /receipts, /again, /drop, /unbind,
// /odd, /garbage) and it reads what came in (GET /seen).
import http from 'node:http';
import fs from 'node:fs';
import { parseArgs } from 'node:util';
import smpp from 'smpp';

const { values: args } = parseArgs({ options: { smpp: { type: 'string' }, control: { type: 'string' }, tls: { type: 'string' }, cert: { type: 'string' }, key: { type: 'string' } } });

// How it behaves. hold keeps answers back until so many are owed, or it behaves otherwise. statuses are the answers to the next submit_sm, of what ever number; numbers has answers by number.
const usual = {
  systemId: 'roomline', password: 'secret', refuseBind: 0, silentBind: false, statuses: [], numbers: {}, delay: 0, hold: 0, silent: false, silentLinks: false,
  receipts: 'at once', // 'at once', 'never', 'on request'
  receiptState: 'DELIVRD', receiptStyle: 'text', // 'text', 'tlv', 'payload'
  answerIds: 'decimal', receiptIds: 'decimal', // 'decimal', 'hex', 'padded'
  dropAfter: -1, // the connection breaks after so many submit_sm, instead of the answer
};
let behaviour = { ...usual };
const seen = { binds: [], submits: [], texts: [], enquiries: 0, unbinds: 0, receiptAnswers: [], connections: 0, nacks: 0, outstanding: 0 };
let outstanding = 0; // submit_sm without an answer
let held = [];
const concatenated = new Map();
const owed = [];
const sessions = new Set();
let last = 0xfffe; // ids have letters in hexadecimal digits

const written = (id, form) => form === 'hex' ? id.toString(16).toUpperCase() : form === 'padded' ? String(id).padStart(12, '0') : String(id);
const now = () => new Date().toISOString().replace(/\D/g, '').slice(2, 12);

// whole puts concatenated messages together, as a phone does.
function whole(p) {
  const { udh, message } = p.short_message;
  const header = (udh || []).find(e => e[0] === 0);
  const common = { from: p.source_addr, to: p.destination_addr, coding: p.data_coding };
  if (!header) { seen.texts.push({ ...common, text: message, parts: 1 }); return; }
  const key = `${p.source_addr} ${p.destination_addr} ${header[2]} ${header[3]}`;
  const have = concatenated.get(key) || {};
  have[header[4]] = message;
  concatenated.set(key, have);
  if (Object.keys(have).length === header[3]) {
    concatenated.delete(key);
    seen.texts.push({ ...common, text: Object.keys(have).map(Number).sort((a, b) => a - b).map(n => have[n]).join(''), parts: header[3] });
  }
}

let lastReceipt;

function receipt(owing, state = behaviour.receiptState) {
  const id = written(owing.id, behaviour.receiptIds);
  const text = `id:${id} sub:001 dlvrd:001 submit date:${now()} done date:${now()} stat:${state} err:000 text:`;
  const pdu = { source_addr: owing.to, destination_addr: owing.from, esm_class: 4 };
  if (behaviour.receiptStyle === 'tlv') {
    const states = { ENROUTE: 1, DELIVRD: 2, EXPIRED: 3, DELETED: 4, UNDELIV: 5, ACCEPTD: 6, UNKNOWN: 7, REJECTD: 8 };
    Object.assign(pdu, { short_message: '', receipted_message_id: id, message_state: states[state] });
  } else if (behaviour.receiptStyle === 'payload') {
    Object.assign(pdu, { short_message: '', message_payload: text });
  } else {
    pdu.short_message = text;
  }
  const receiver = [...sessions].find(s => s.receives);
  if (!receiver) { owed.push(owing); return; }
  lastReceipt = pdu;
  receiver.deliver_sm(pdu, answer => seen.receiptAnswers.push(answer.command_status));
}

function submitted(session, p) {
  const text = p.short_message;
  seen.submits.push({
    to: p.destination_addr, from: p.source_addr, sourceTon: p.source_addr_ton, sourceNpi: p.source_addr_npi, destTon: p.dest_addr_ton, destNpi: p.dest_addr_npi,
    coding: p.data_coding, esmClass: p.esm_class, receipt: p.registered_delivery, validity: !!p.validity_period,
    udh: text.udh ? Buffer.concat(text.udh).toString('hex') : '', text: text.message, length: text.message.length,
  });
  if (behaviour.dropAfter === 0) { behaviour.dropAfter = -1; whole(p); session.destroy(); return; }
  if (behaviour.dropAfter > 0) behaviour.dropAfter--;
  if (behaviour.silent) { whole(p); return; }
  const status = behaviour.statuses.length ? behaviour.statuses.shift() : behaviour.numbers[p.destination_addr] || 0;
  if (status) { session.send(p.response({ command_status: status })); return; }
  whole(p);
  const owing = { id: ++last, to: p.destination_addr, from: p.source_addr };
  if (behaviour.receipts === 'first') receipt(owing); // before the answer
  session.send(p.response({ message_id: written(owing.id, behaviour.answerIds) }));
  if (behaviour.receipts === 'at once') receipt(owing);
  if (behaviour.receipts === 'on request') owed.push(owing);
}

// release gives the answers that were kept back.
function release() {
  const answers = held;
  held = [];
  const all = () => answers.forEach(answer => answer());
  if (behaviour.delay) setTimeout(all, behaviour.delay); else all();
}

function connected(session) {
  seen.connections++;
  sessions.add(session);
  session.on('close', () => sessions.delete(session));
  session.on('error', () => sessions.delete(session));
  const bind = kind => p => {
    seen.binds.push({ kind, systemId: p.system_id });
    if (behaviour.silentBind) return;
    if (behaviour.refuseBind || p.system_id !== behaviour.systemId || p.password !== behaviour.password) {
      session.send(p.response({ command_status: behaviour.refuseBind || smpp.ESME_RINVPASWD }));
      return;
    }
    session.receives = kind !== 'transmitter';
    session.send(p.response({ system_id: 'smsc' }));
    if (session.receives) owed.splice(0, behaviour.receipts === 'on request' ? 0 : owed.length).forEach(o => receipt(o));
  };
  session.on('bind_transceiver', bind('transceiver'));
  session.on('bind_transmitter', bind('transmitter'));
  session.on('bind_receiver', bind('receiver'));
  session.on('enquire_link', p => { seen.enquiries++; if (!behaviour.silentLinks) session.send(p.response()); });
  session.on('unbind', p => { seen.unbinds++; session.send(p.response()); session.close(); });
  session.on('generic_nack', () => seen.nacks++);
  session.on('submit_sm', p => {
    seen.outstanding = Math.max(seen.outstanding, ++outstanding);
    const answer = () => { outstanding--; submitted(session, p); };
    held.push(answer);
    if (held.length >= behaviour.hold) release();
  });
}

const control = {
  'POST /behave': body => { behaviour = { ...usual, ...body }; release(); },
  'POST /receipts': body => owed.splice(0, body.count || owed.length).forEach(o => receipt(o, body.state)),
  // The last receipt once more.
  'POST /again': () => [...sessions].find(s => s.receives).deliver_sm({ ...lastReceipt }, answer => seen.receiptAnswers.push(answer.command_status)),
  'POST /drop': () => sessions.forEach(s => s.destroy()),
  'POST /unbind': () => sessions.forEach(s => s.unbind(() => {})),
  // An answer of a phone, and a PDU that no library knows.
  'POST /odd': () => sessions.forEach(s => {
    s.deliver_sm({ source_addr: '3247000000', destination_addr: 'Roomline', data_coding: 8, short_message: 'Ja ✓' });
    s.socket.write(Buffer.from('00000010000000990000000000000077', 'hex'));
    s.socket.write(Buffer.from('0000001200000005000000000000007800ff', 'hex')); // a deliver_sm that ends too early
  }),
  'POST /garbage': () => sessions.forEach(s => s.socket.write(Buffer.from('ffffffff00000005', 'hex'))),
  'GET /seen': () => ({ ...seen, owed: owed.length, bound: [...sessions].length }),
};

const controller = http.createServer((req, res) => {
  let text = '';
  req.on('data', d => { text += d; });
  req.on('end', () => {
    const act = control[`${req.method} ${req.url}`];
    const result = act ? act(text ? JSON.parse(text) : {}) : undefined;
    res.writeHead(act ? 200 : 404, { 'content-type': 'application/json' });
    res.end(JSON.stringify(result || {}));
  });
});

// A port of 0 is any that is free. What they are is printed when all are open.
const servers = {
  smpp: smpp.createServer(connected), control: controller,
  tls: smpp.createServer({ cert: fs.readFileSync(args.cert), key: fs.readFileSync(args.key) }, connected),
};
await Promise.all(Object.entries(servers).map(([name, server]) => new Promise(open => server.listen(Number(args[name]), '127.0.0.1', open))));
console.log(`listening ${Object.entries(servers).map(([name, server]) => `${name}=${server.address().port}`).join(' ')} .`);
