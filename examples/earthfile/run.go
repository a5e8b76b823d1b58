package main

import (
	"strings"

	pintle "github.com/pintle/pintle/sdk/go"
)

var running = map[string]bool{
	"mount": true, "secret": true, "network": true, "ssh": false, "no-cache": false, "push": false, "privileged": false,
}

// agent is where the socket of an SSH agent is.
const agent = "/run/buildkit/ssh_agent.0"

func (r *recipe) run(c command) error {
	found, rest, err := options(c.rest, running, nil)
	if err != nil {
		return err
	}
	if rest == "" {
		return pintle.Errorf("RUN: want a command")
	}
	if has(found, "push") {
		r.cx.Log("info", "RUN --push "+rest+": left out, as it is in a build that pushes nothing")
		return nil
	}
	how := []pintle.Option{pintle.Cwd(r.image.workdir()), pintle.At(c.at), r.name(c), pintle.Mounts(r.caches...)}
	for _, option := range found {
		more, err := r.runOption(option)
		if err != nil {
			return err
		}
		how = append(how, more...)
	}
	if user := r.image.text("User"); user != "" {
		how = append(how, pintle.User(user))
	}
	known := map[string]bool{}
	for _, variable := range r.image.env() {
		known[variable[0]] = true
		how = append(how, pintle.Env(variable[0], variable[1]))
	}
	for _, name := range r.order {
		if !known[name] {
			how = append(how, pintle.Env(name, r.args[name]))
		}
	}
	r.state = r.state.Run(shellOrExec(rest), how...).Root()
	return nil
}

func (r *recipe) runOption(option option) ([]pintle.Option, error) {
	text, err := expand(option.value, r.lookup)
	if err != nil {
		return nil, err
	}
	switch option.name {
	case "mount":
		mount, err := mountOf(text)
		return []pintle.Option{pintle.Mounts(mount)}, err
	case "secret":
		name, id, hasID := strings.Cut(text, "=")
		if !hasID {
			id = name
		}
		return []pintle.Option{pintle.Mounts(pintle.Secret(strings.TrimPrefix(id, "+secrets/"), pintle.AsEnv(name)))}, nil
	case "ssh":
		return []pintle.Option{pintle.Mounts(pintle.SSH(agent)), pintle.Env("SSH_AUTH_SOCK", agent)}, nil
	case "network":
		return []pintle.Option{pintle.Network(text)}, nil
	case "no-cache":
		return []pintle.Option{pintle.IgnoreCache()}, nil
	case "privileged":
		return []pintle.Option{pintle.Security("insecure")}, nil
	}
	return nil, pintle.Errorf("--%s: this frontend does not know it here", option.name)
}

// mountOf reads `type=cache,target=/x,...`.
func mountOf(text string) (pintle.Mount, error) {
	fields := map[string]string{}
	var how []pintle.Option
	for _, field := range strings.Split(text, ",") {
		name, value, _ := strings.Cut(field, "=")
		fields[name] = value
		switch name {
		case "type", "target", "id":
		case "sharing", "mode", "uid", "gid", "size":
			how = append(how, pintle.Attribute(name, value))
		default:
			return pintle.Mount{}, pintle.Errorf("--mount %s: %s is not known", text, name)
		}
	}
	target, id := fields["target"], fields["id"]
	if id == "" {
		id = target
	}
	if target == "" {
		return pintle.Mount{}, pintle.Errorf("--mount %s: want a target", text)
	}
	switch fields["type"] {
	case "cache":
		return pintle.Cache(target, id, how...), nil
	case "tmpfs":
		return pintle.Tmpfs(target, how...), nil
	case "secret":
		return pintle.Secret(target, append(how, pintle.ID(strings.TrimPrefix(id, "+secrets/")))...), nil
	}
	return pintle.Mount{}, pintle.Errorf("--mount %s: want type cache, tmpfs or secret", text)
}

func (r *recipe) cache(c command) error {
	found, rest, err := options(c.rest, map[string]bool{"sharing": true, "id": true}, r.lookup)
	if err != nil {
		return err
	}
	name, err := expand(rest, r.lookup)
	if err != nil {
		return err
	}
	target := strings.TrimSuffix(r.image.absolute(name), "/")
	id := value(found, "id")
	if id == "" {
		id = target
	}
	sharing := value(found, "sharing")
	if sharing == "" {
		sharing = "locked"
	}
	r.caches = append(r.caches, pintle.Cache(target, id, pintle.Sharing(sharing)))
	return nil
}

func (r *recipe) env(c command) error {
	words, err := split(c.rest, r.lookup)
	if err != nil {
		return err
	}
	pairs, err := pairsOf(words)
	for _, pair := range pairs {
		r.image.setEnv(pair[0], pair[1])
	}
	return err
}

func (r *recipe) label(c command) error {
	words, err := split(c.rest, r.lookup)
	if err != nil {
		return err
	}
	pairs, err := pairsOf(words)
	for _, pair := range pairs {
		r.image.set("Labels", pair[0], pair[1])
	}
	return err
}

func (r *recipe) user(c command) error {
	name, err := expand(c.rest, r.lookup)
	r.image["User"] = name
	return err
}

func (r *recipe) cmd(c command) error {
	r.image["Cmd"] = shellOrExec(c.rest)
	return nil
}

// entrypoint takes the base's CMD away, which was for another program.
func (r *recipe) entrypoint(c command) error {
	r.image["Entrypoint"] = shellOrExec(c.rest)
	delete(r.image, "Cmd")
	return nil
}

func (r *recipe) expose(c command) error {
	words, err := split(c.rest, r.lookup)
	for _, word := range words {
		if !strings.Contains(word, "/") {
			word += "/tcp"
		}
		r.image.set("ExposedPorts", word, struct{}{})
	}
	return err
}

func (r *recipe) volume(c command) error {
	words, err := split(strings.NewReplacer("[", " ", "]", " ", ",", " ").Replace(c.rest), r.lookup)
	for _, word := range words {
		r.image.set("Volumes", word, struct{}{})
	}
	return err
}
