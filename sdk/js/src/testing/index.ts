/**
 * A host of scripted images and files, for the unit tests of frontends. Run them with `pintle-js test`.
 * @module
 */

export { type Built, FakeHost, type Logged } from "./fake.ts";
