package main

import (
	"errors"
	"fmt"
	"sort"
	"strings"

	pintle "github.com/pintle/pintle/sdk/go"
)

// lowering lowers a file for one platform.
type lowering struct {
	cx       *pintle.Host
	file     *earthfile
	platform string
	// overrides are ARGs that the user gave, for all targets.
	overrides map[string]string
	done      map[string]*built
	// files are the user's, once a command has asked for them.
	files *pintle.State
	// doing are the targets that are being lowered, to find circles.
	doing []string
}

// built is a target that is lowered.
type built struct {
	state pintle.State
	image image
	// artifacts are what other targets copy from, and locals what goes to the user.
	artifacts, locals pintle.State
	savesImage        bool
	// also are targets that BUILD names.
	also []*built
}

func newLowering(cx *pintle.Host, file *earthfile, platform string, overrides map[string]string) *lowering {
	return &lowering{cx: cx, file: file, platform: platform, overrides: overrides, done: map[string]*built{}}
}

// context is the user's files, without what .earthlyignore or .dockerignore leaves out.
func (l *lowering) context() (pintle.State, error) {
	if l.files != nil {
		return *l.files, nil
	}
	options := []pintle.Option{pintle.SharedKey("context"), pintle.Name("load context")}
	for _, name := range []string{".earthlyignore", ".dockerignore"} {
		look := l.cx.Local("context", pintle.Follow(name), pintle.SharedKey("context-"+name), pintle.Name("load "+name))
		text, err := l.cx.Solve(look).ReadText(name)
		var own *pintle.Error
		if errors.As(err, &own) && own.Code == "not-found" {
			continue
		}
		if err != nil {
			return pintle.State{}, err
		}
		for _, line := range strings.Split(text, "\n") {
			if line = strings.TrimSpace(line); line != "" && !strings.HasPrefix(line, "#") {
				options = append(options, pintle.Exclude(strings.TrimPrefix(line, "/")))
			}
		}
		break
	}
	files := l.cx.Local("context", options...)
	l.files = &files
	return files, nil
}

// result is what a build of a target gives: the files that it saves locally, or else its image.
func (l *lowering) result(target string) (pintle.Result, error) {
	if _, ok := l.file.targets[target]; !ok && target == defaultTarget {
		return pintle.Result{}, pintle.Errorf("no target +%s, which is built unless --target names another; there are %s", target, strings.Join(l.file.order, ", "))
	}
	made, err := l.target(target, nil)
	if err != nil {
		return pintle.Result{}, err
	}
	all := reached(made, map[*built]bool{})
	var locals, others []pintle.State
	for _, one := range all {
		if one.locals.Edge() != nil {
			locals = append(locals, one.locals)
		}
		if one != made {
			others = append(others, one.state)
		}
	}
	if made.savesImage || len(locals) == 0 {
		state := l.after(made.state, others)
		return pintle.Result{State: state, Config: made.image.config(l.platform)}, nil
	}
	state := l.cx.Merge(locals, pintle.Name("files that are saved locally"))
	return pintle.Result{State: l.after(state, append(others, made.state))}, nil
}

// after is a tree that is there once others are built.
func (l *lowering) after(state pintle.State, others []pintle.State) pintle.State {
	if state.Edge() == nil && len(others) > 0 {
		// Only what has a vertex can come after others.
		state = l.cx.Scratch().File([]pintle.FileAction{pintle.Mkdir("/", pintle.Parents())}, pintle.Name("nothing"))
	}
	inputs := []pintle.State{state}
	for _, other := range others {
		if other.Edge() != nil && !other.Same(state) {
			inputs = append(inputs, other)
		}
	}
	if len(inputs) == 1 {
		return state
	}
	params := []pintle.Attr{{Word: "id", Value: "build"}}
	return l.cx.Op("passthrough", inputs, params, pintle.Name("targets of BUILD"))
}

// reached is a target and those that its BUILDs name, each once.
func reached(one *built, seen map[*built]bool) []*built {
	if seen[one] {
		return nil
	}
	seen[one] = true
	all := []*built{one}
	for _, other := range one.also {
		all = append(all, reached(other, seen)...)
	}
	return all
}

// target lowers a target with the ARGs that it is given.
func (l *lowering) target(name string, given map[string]string) (*built, error) {
	commands, ok := l.file.targets[name]
	if !ok {
		return nil, pintle.Errorf("no target +%s; there are %s", name, strings.Join(l.file.order, ", "))
	}
	key := name
	for _, arg := range sortedKeys(given) {
		key += fmt.Sprintf(" --%s=%q", arg, given[arg])
	}
	if made, ok := l.done[key]; ok {
		return made, nil
	}
	for _, other := range l.doing {
		if other == key {
			return nil, pintle.Errorf("target +%s builds on itself: +%s", name, strings.Join(append(l.doing, key), " -> +"))
		}
	}
	l.doing = append(l.doing, key)
	recipe := newRecipe(l, name, given)
	if err := recipe.all(l.file.base); err != nil {
		return nil, err
	}
	recipe.enterTarget()
	if err := recipe.all(commands); err != nil {
		return nil, err
	}
	l.doing = l.doing[:len(l.doing)-1]
	l.done[key] = &recipe.built
	return &recipe.built, nil
}

func sortedKeys(values map[string]string) []string {
	keys := make([]string, 0, len(values))
	for key := range values {
		keys = append(keys, key)
	}
	sort.Strings(keys)
	return keys
}
