// Stands in for `pintle:frontend/llb` in tests: hands each call to the fake host that builds now.

import type { Llb } from "pintle:frontend/llb@0.1.0";
import { current } from "./fake.ts";

export default new Proxy({} as Llb, { get: (_, name) => Reflect.get(current().llb, name) });
