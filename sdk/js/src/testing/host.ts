// Stands in for `pintle:frontend/host` in tests: hands each call to the fake host that builds now.

import type { HostCalls } from "pintle:frontend/host@0.1.0";
import { current } from "./fake.ts";

export default new Proxy({} as HostCalls, { get: (_, name) => Reflect.get(current().calls, name) });
