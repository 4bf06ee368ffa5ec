// A stock grpc-js client on a node: health, reflection, a producer and a worker, and what goes wrong on purpose.
// Usage: client.js <folder of .proto files> <host:port> <ca.pem> <producer token file> <worker token file>
'use strict';

const assert = require('node:assert');
const fs = require('node:fs');
const path = require('node:path');
const grpc = require('@grpc/grpc-js');
const loader = require('@grpc/proto-loader');

const TASKS = 500;
const SECONDS = 30;

const [protos, target, ca, producerFile, workerFile] = process.argv.slice(2);
const tokens = [producerFile, workerFile].map((file) => fs.readFileSync(file, 'utf8').trim());
const credentials = grpc.credentials.createSsl(fs.readFileSync(ca));

function service(file, name) {
  const options = { keepCase: true, longs: String, enums: String, oneofs: true };
  const loaded = grpc.loadPackageDefinition(loader.loadSync(path.join(protos, file), options));
  const Client = name.split('.').reduce((at, part) => at[part], loaded);
  return new Client(target, credentials);
}

const deadline = () => ({ deadline: new Date(Date.now() + SECONDS * 1000) });

// A stream as an iterator with a status: `next` waits for a message, `ended` for the status.
class Stream {
  constructor(call) {
    this.call = call;
    this.messages = [];
    this.waiting = [];
    this.ended = new Promise((resolve) => call.on('status', resolve));
    call.on('data', (message) => (this.waiting.length ? this.waiting.shift()(message) : this.messages.push(message)));
    call.on('error', () => this.waiting.splice(0).forEach((resolve) => resolve(undefined)));
  }

  send(message) {
    this.call.write(message);
  }

  next() {
    return this.messages.length ? this.messages.shift() : new Promise((resolve) => this.waiting.push(resolve));
  }
}

async function health() {
  const client = service('health.proto', 'grpc.health.v1.Health');
  const check = (request) =>
    new Promise((resolve, reject) =>
      client.Check(request, deadline(), (error, answer) => (error ? reject(error) : resolve(answer)))
    );
  assert.equal((await check({})).status, 'SERVING');
  assert.equal((await check({ service: 'workerpb.WorkerStream' })).status, 'SERVING');
  await assert.rejects(check({ service: 'nobody' }), { code: grpc.status.NOT_FOUND });
  const watch = new Stream(client.Watch({}, deadline()));
  assert.equal((await watch.next()).status, 'SERVING');
  watch.call.cancel();
  assert.equal((await watch.ended).code, grpc.status.CANCELLED);
  client.close();
}

async function reflection() {
  const client = service('reflection.proto', 'grpc.reflection.v1.ServerReflection');
  const stream = new Stream(client.ServerReflectionInfo(deadline()));
  stream.send({ list_services: '' });
  const names = (await stream.next()).list_services_response.service.map((each) => each.name);
  assert(names.includes('producerpb.ProducerStream') && names.includes('workerpb.WorkerStream'), names);
  stream.call.end();
  assert.equal((await stream.ended).code, grpc.status.OK);
  client.close();
}

async function produce(client, command) {
  const stream = new Stream(client.Stream(deadline()));
  stream.send({ hello: { token: tokens[0] } });
  assert((await stream.next()).hello_ack.tenant_id);
  for (let seq = 1; seq <= TASKS; seq++) {
    stream.send({ create: { seq, command, payload: Buffer.from(JSON.stringify({ seq })) } });
  }
  const batch = [];
  for (let seq = TASKS + 1; seq <= 2 * TASKS; seq++) {
    batch.push({ seq, command, payload: Buffer.from(JSON.stringify({ seq })) });
  }
  stream.send({ create_batch: { tasks: batch } });
  const ids = new Map();
  while (ids.size < 2 * TASKS) {
    const event = await stream.next();
    for (const ack of event.event === 'create_ack' ? [event.create_ack] : event.create_ack_batch.acks) {
      assert(ack.ok, ack.error_message);
      ids.set(Number(ack.seq), ack.task_id);
    }
  }
  stream.call.end();
  assert.equal((await stream.ended).code, grpc.status.OK);
  return ids;
}

async function work(client, command, ids) {
  const stream = new Stream(client.Stream(deadline()));
  stream.send({ hello: { token: tokens[1], worker_id: 'stock-js' } });
  assert.equal((await stream.next()).hello_ack.worker_id, 'stock-js');
  const left = new Set(ids.values());
  const done = new Set();
  for (let number = 0; number < 8; number++) {
    stream.send({ ready: { commands: [command], count: number % 2 ? 16 : 1, lease_seconds: 60 } });
  }
  while (done.size < ids.size) {
    const event = await stream.next();
    if (event.event === 'task' || event.event === 'task_batch') {
      const tasks = event.event === 'task' ? [event.task.task] : event.task_batch.tasks;
      const results = tasks.map((task) => {
        assert.equal(ids.get(JSON.parse(task.payload).seq), task.id);
        assert(left.delete(task.id), 'delivered twice');
        return { task_id: task.id, lease_id: task.lease_id, status: 'COMPLETED', result_json: Buffer.from('{"ok":true}') };
      });
      if (event.event === 'task') {
        stream.send({ result: results[0] });
      } else {
        stream.send({ result_batch: { results } });
      }
      stream.send({ ready: { commands: [command], count: tasks.length > 1 ? 16 : 1, lease_seconds: 60 } });
    } else {
      for (const ack of event.event === 'result_ack' ? [event.result_ack] : event.result_ack_batch.acks) {
        assert(ack.ok, ack.error_message);
        done.add(ack.task_id);
      }
    }
  }
  stream.call.end();
  assert.equal((await stream.ended).code, grpc.status.OK);
}

async function refusals(client) {
  const refused = new Stream(client.Stream(deadline()));
  refused.send({ hello: { token: 'nonsense' } });
  assert.equal((await refused.ended).code, grpc.status.UNAUTHENTICATED);
  const early = new Stream(client.Stream(deadline()));
  early.send({ create: { command: 'x' } });
  assert.equal((await early.ended).code, grpc.status.FAILED_PRECONDITION);
  const late = new Stream(client.Stream({ deadline: new Date(Date.now() + 200) }));
  assert.equal((await late.ended).code, grpc.status.DEADLINE_EXCEEDED);
  const large = new Stream(client.Stream(deadline()));
  large.send({ create: { command: 'x', payload: Buffer.alloc(5 << 20) } });
  assert.equal((await large.ended).code, grpc.status.RESOURCE_EXHAUSTED);
}

async function main() {
  await health();
  await reflection();
  const producers = service('producer.proto', 'producerpb.ProducerStream');
  const workers = service('worker.proto', 'workerpb.WorkerStream');
  const ids = await produce(producers, 'stock-js');
  await work(workers, 'stock-js', ids);
  await refusals(producers);
  // Many streams on one connection, with each other's refusals behind them.
  const many = Array.from({ length: 20 }, (_, number) => produce(producers, `stock-js-${number}`));
  await Promise.all(many);
  producers.close();
  workers.close();
  console.log(`grpc-js: ${2 * TASKS} tasks through their lives, ${20 * 2 * TASKS} created on 20 streams at once`);
}

main().catch((error) => {
  console.error(error);
  process.exit(1);
});
