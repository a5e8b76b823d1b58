package main

import (
	"encoding/json"
	"path"
	"strings"

	pintle "github.com/pintle/pintle/sdk/go"
)

// image is the part of an image config that commands change; what else a base has is kept.
type image map[string]any

// parseImage reads the config of a base.
func parseImage(text string) (image, error) {
	var whole struct {
		Config image `json:"config"`
	}
	if err := json.Unmarshal([]byte(text), &whole); err != nil {
		return nil, err
	}
	if whole.Config == nil {
		whole.Config = image{}
	}
	return whole.Config, nil
}

// clone is a copy to change.
func (i image) clone() image {
	made := image{}
	for key, value := range i {
		made[key] = value
	}
	return made
}

func (i image) text(key string) string {
	text, _ := i[key].(string)
	return text
}

func (i image) strings(key string) []string {
	switch list := i[key].(type) {
	case []string:
		return list
	case []any:
		var all []string
		for _, item := range list {
			if text, ok := item.(string); ok {
				all = append(all, text)
			}
		}
		return all
	}
	return nil
}

// env is the environment, in order.
func (i image) env() [][2]string {
	var all [][2]string
	for _, entry := range i.strings("Env") {
		name, value, _ := strings.Cut(entry, "=")
		all = append(all, [2]string{name, value})
	}
	return all
}

// setEnv sets a variable, at the place of the one of this name when there is one.
func (i image) setEnv(name, value string) {
	var list []string
	replaced := false
	for _, entry := range i.strings("Env") {
		if strings.HasPrefix(entry, name+"=") {
			entry, replaced = name+"="+value, true
		}
		list = append(list, entry)
	}
	if !replaced {
		list = append(list, name+"="+value)
	}
	i["Env"] = list
}

// set adds an entry to a map of the config: Labels, ExposedPorts, Volumes.
func (i image) set(key, name string, value any) {
	made := map[string]any{}
	if known, ok := i[key].(map[string]any); ok {
		for name, value := range known {
			made[name] = value
		}
	}
	made[name] = value
	i[key] = made
}

// workdir is the working directory.
func (i image) workdir() string { return path.Join("/", i.text("WorkingDir")) }

// absolute is a path in the working directory. A slash at the end stays: it says that this is a directory.
func (i image) absolute(name string) string {
	made := name
	if !path.IsAbs(name) {
		made = path.Join(i.workdir(), name)
	} else {
		made = path.Clean(name)
	}
	if (strings.HasSuffix(name, "/") || name == "." || strings.HasSuffix(name, "/.")) && made != "/" {
		made += "/"
	}
	return made
}

// config is the whole config for a platform.
func (i image) config(platform string) map[string]any {
	parts := strings.Split(platform, "/")
	made := map[string]any{"os": parts[0], "config": i}
	if len(parts) > 1 {
		made["architecture"] = parts[1]
	}
	if len(parts) > 2 {
		made["variant"] = parts[2]
	}
	return made
}

// normalized is an image's name with its registry: alpine is docker.io/library/alpine:latest.
func normalized(name string) string {
	host, _, hasHost := strings.Cut(name, "/")
	if !hasHost {
		name = "docker.io/library/" + name
	} else if !strings.ContainsAny(host, ".:") && host != "localhost" {
		name = "docker.io/" + name
	}
	if last := name[strings.LastIndex(name, "/")+1:]; !strings.ContainsAny(last, ":@") {
		name += ":latest"
	}
	return name
}

// shellOrExec is a command line in either form: a JSON list, or a shell's text.
func shellOrExec(text string) []string {
	var list []string
	if strings.HasPrefix(text, "[") && json.Unmarshal([]byte(text), &list) == nil {
		return list
	}
	return []string{"/bin/sh", "-c", text}
}

// pairsOf reads `NAME=VALUE ...`, and `NAME VALUE` where there is no =.
func pairsOf(words []string) ([][2]string, error) {
	if len(words) > 0 && !strings.Contains(words[0], "=") {
		if len(words) == 1 {
			return nil, pintle.Errorf("%s: want NAME=VALUE", words[0])
		}
		return [][2]string{{words[0], strings.TrimPrefix(strings.Join(words[1:], " "), "= ")}}, nil
	}
	var all [][2]string
	for _, word := range words {
		name, value, ok := strings.Cut(word, "=")
		if !ok || name == "" {
			return nil, pintle.Errorf("%s: want NAME=VALUE", word)
		}
		all = append(all, [2]string{name, value})
	}
	return all, nil
}
