package main

import (
	"errors"
	"strings"

	pintle "github.com/pintle/pintle/sdk/go"
)

// recipe is the state of a target while its commands are done.
type recipe struct {
	*lowering
	built
	target string
	// given are the ARGs that whoever refers to the target gives.
	given map[string]string
	// args are the values of ARG and LET, in the order in which they were declared.
	args    map[string]string
	order   []string
	globals map[string]bool
	// inTarget is false in the base recipe.
	inTarget bool
	hasFrom  bool
	// caches are the mounts of CACHE.
	caches []pintle.Mount
}

func newRecipe(l *lowering, target string, given map[string]string) *recipe {
	made := &recipe{lowering: l, target: target, given: given, args: map[string]string{}, globals: map[string]bool{}}
	made.state, made.artifacts, made.locals = l.cx.Scratch(), l.cx.Scratch(), l.cx.Scratch()
	made.image = image{}
	return made
}

// enterTarget ends the base recipe: its ARGs are its own, unless they are global. In 0.6 they all are.
func (r *recipe) enterTarget() {
	r.inTarget = true
	var kept []string
	for _, name := range r.order {
		if r.globals[name] || r.file.version == "0.6" {
			kept = append(kept, name)
		} else {
			delete(r.args, name)
		}
	}
	r.order = kept
}

// commands are what a recipe may say.
var commands map[string]func(r *recipe, c command) error

func init() {
	commands = map[string]func(*recipe, command) error{
		"ARG": (*recipe).arg, "LET": (*recipe).let, "SET": (*recipe).set, "FROM": (*recipe).from, "COPY": (*recipe).copy,
		"RUN": (*recipe).run, "SAVE ARTIFACT": (*recipe).saveArtifact, "SAVE IMAGE": (*recipe).saveImage,
		"BUILD": (*recipe).build, "GIT CLONE": (*recipe).gitClone, "CACHE": (*recipe).cache, "WORKDIR": (*recipe).workdir,
		"ENV": (*recipe).env, "USER": (*recipe).user, "CMD": (*recipe).cmd, "ENTRYPOINT": (*recipe).entrypoint,
		"EXPOSE": (*recipe).expose, "VOLUME": (*recipe).volume, "LABEL": (*recipe).label,
	}
}

// anywhere are commands that need no FROM before them.
var anywhere = map[string]bool{"ARG": true, "LET": true, "SET": true, "FROM": true, "BUILD": true}

func (r *recipe) all(list []command) error {
	for _, c := range list {
		do, ok := commands[c.name]
		var err error
		switch {
		case !ok:
			err = pintle.Errorf("%s: not of the core of Earthfiles, which this frontend reads", c.name)
		case !r.hasFrom && !anywhere[c.name]:
			err = pintle.Errorf("%s: there is no FROM before it", c.name)
		default:
			err = do(r, c)
		}
		var own *pintle.Error
		if errors.As(err, &own) && len(own.Places) == 0 {
			return own.At(c.at)
		}
		if err != nil {
			return err
		}
	}
	return nil
}

// lookup answers ARGs and variables of the environment.
func (r *recipe) lookup(name string) (string, bool) {
	for _, variable := range r.image.env() {
		if variable[0] == name {
			return variable[1], true
		}
	}
	value, ok := r.args[name]
	return value, ok
}

func (r *recipe) declare(name, value string) {
	if _, ok := r.args[name]; !ok {
		r.order = append(r.order, name)
	}
	r.args[name] = value
}

// name is what the progress shows for a command.
func (r *recipe) name(c command) pintle.Option {
	target := r.target
	if !r.inTarget {
		target = "base"
	}
	return pintle.Name("+" + target + " | " + c.name + " " + c.rest)
}

// builtin answers ARGs that have values of their own.
func (r *recipe) builtin(name string) (string, bool) {
	parts := append(strings.Split(r.platform, "/"), "", "")
	value, ok := map[string]string{
		"TARGETPLATFORM": r.platform, "TARGETOS": parts[0], "TARGETARCH": parts[1], "TARGETVARIANT": parts[2],
		"EARTHLY_TARGET_NAME": r.target, "EARTHLY_TARGET": "+" + r.target,
	}[name]
	return value, ok
}

func (r *recipe) arg(c command) error {
	found, rest, err := options(c.rest, map[string]bool{"required": false, "global": false}, nil)
	if err != nil {
		return err
	}
	name, fallback, hasFallback := strings.Cut(rest, "=")
	name = strings.TrimSpace(name)
	if name == "" || strings.Contains(name, " ") {
		return pintle.Errorf("ARG %s: want ARG NAME=VALUE", rest)
	}
	if has(found, "global") {
		if r.inTarget {
			return pintle.Errorf("ARG --global %s: want it before all targets", name)
		}
		r.globals[name] = true
	}
	if value, ok := r.given[name]; ok && r.inTarget {
		r.declare(name, value)
		return nil
	}
	if value, ok := r.overrides[name]; ok {
		r.declare(name, value)
		return nil
	}
	if value, ok := r.builtin(name); ok {
		r.declare(name, value)
		return nil
	}
	if has(found, "required") {
		return pintle.Errorf("ARG %s: required, and not given: --build-arg %s=...", name, name)
	}
	value := ""
	if hasFallback {
		if value, err = expand(fallback, r.lookup); err != nil {
			return err
		}
	} else if known, ok := r.args[name]; ok {
		value = known
	}
	r.declare(name, value)
	return nil
}

func (r *recipe) let(c command) error {
	name, value, ok := strings.Cut(c.rest, "=")
	if !ok || name == "" {
		return pintle.Errorf("%s %s: want NAME=VALUE", c.name, c.rest)
	}
	expanded, err := expand(value, r.lookup)
	if err == nil {
		r.declare(strings.TrimSpace(name), expanded)
	}
	return err
}

func (r *recipe) set(c command) error {
	name, _, _ := strings.Cut(c.rest, "=")
	if _, ok := r.args[strings.TrimSpace(name)]; !ok {
		return pintle.Errorf("SET %s: there is no LET of it", name)
	}
	return r.let(c)
}

// reference is a target that a command refers to: +NAME, or +NAME/ARTIFACT, with ARGs.
type reference struct {
	target, artifact string
	args             map[string]string
}

// refer reads a reference and the ARGs behind it.
func refer(words []string) (reference, error) {
	found := reference{args: map[string]string{}}
	before, after, _ := strings.Cut(words[0], "+")
	if before != "" {
		return found, pintle.Errorf("%s: targets of other Earthfiles are not of the core, which this frontend reads", words[0])
	}
	found.target, found.artifact, _ = strings.Cut(after, "/")
	for _, word := range words[1:] {
		name, value, ok := strings.Cut(strings.TrimPrefix(word, "--"), "=")
		if !ok || !strings.HasPrefix(word, "--") {
			return found, pintle.Errorf("%s: want --NAME=VALUE behind a target", word)
		}
		found.args[name] = value
	}
	return found, nil
}

func (r *recipe) from(c command) error {
	found, rest, err := options(c.rest, map[string]bool{"platform": true, "allow-privileged": false}, r.lookup)
	if err != nil {
		return err
	}
	words, err := split(rest, r.lookup)
	if err != nil {
		return err
	}
	if len(words) == 0 {
		return pintle.Errorf("FROM: want an image or a target")
	}
	r.hasFrom = true
	if strings.Contains(words[0], "+") {
		reference, err := refer(words)
		if err != nil {
			return err
		}
		base, err := r.lowering.target(reference.target, reference.args)
		if err != nil {
			return err
		}
		r.state, r.image = base.state, base.image.clone()
		return nil
	}
	if words[0] == "scratch" {
		r.state, r.image = r.cx.Scratch(), image{}
		return nil
	}
	platform := value(found, "platform")
	if platform == "" {
		platform = r.platform
	}
	images, err := r.cx.ResolveImages(platform, []string{normalized(words[0])})
	if err != nil {
		return err
	}
	if r.image, err = parseImage(images[0].Config); err != nil {
		return pintle.Errorf("%s: its config is no JSON: %v", words[0], err)
	}
	r.state = r.cx.Image(images[0].Reference, pintle.Platform(platform), pintle.At(c.at), r.name(c))
	return nil
}

func (r *recipe) build(c command) error {
	_, rest, err := options(c.rest, map[string]bool{"auto-skip": false, "allow-privileged": false}, r.lookup)
	if err != nil {
		return err
	}
	words, err := split(rest, r.lookup)
	if err != nil {
		return err
	}
	if len(words) == 0 || !strings.Contains(words[0], "+") {
		return pintle.Errorf("BUILD %s: want a target: +NAME", rest)
	}
	reference, err := refer(words)
	if err != nil {
		return err
	}
	other, err := r.lowering.target(reference.target, reference.args)
	if err == nil {
		r.also = append(r.also, other)
	}
	return err
}
