'use strict';
/** @module queue */

const fs = require('fs');
const MAX_JOBS = 10;
let counter = 0, last;
var legacy;

/**
 * Runs one job.
 * @param {Job} job
 */
export async function run(job) {
  const local = 1;
  const inner = () => local;
  function nested() {}
  return inner();
}

// Double a number.
export const double = (n) => n * 2;

const triple = function (n) { return n * 3; }, four = 4;

export default class Queue extends Base {
  static limit = 5;
  #secret = 1;

  constructor(jobs) {
    super();
    this.jobs = jobs;
  }

  /** The size. */
  get size() { return this.jobs.length; }

  async *drain() { yield 1; }

  handle = (event) => { this.last = event; };

  static from(list) { return new Queue(list); }
}

function* numbers() { yield 1; }

Queue.prototype.push = function (job) { this.jobs.push(job); };
exports.helper = function helper() {};
module.exports.other = () => {};

const api = {
  start() {},
  stop: function () {},
  pause: () => {},
  name: 'api',
};

describe('x', () => { const hidden = 1; });
