package main

import (
	"strings"
	"unicode"

	pintle "github.com/pintle/pintle/sdk/go"
)

// lookup answers a variable, and whether there is one.
type lookup func(name string) (string, bool)

// splitter takes words off a text, as a shell does: quotes, backslashes, variables. What is in parentheses is one word.
type splitter struct {
	text string
	// at is how far it has come.
	at     int
	lookup lookup
}

// split takes all words off a text.
func split(text string, lookup lookup) ([]string, error) {
	splitter := &splitter{text: text, lookup: lookup}
	var words []string
	for {
		word, ok, err := splitter.next()
		if err != nil || !ok {
			return words, err
		}
		words = append(words, word)
	}
}

// expand is a text with its variables, as one word.
func expand(text string, lookup lookup) (string, error) {
	words, err := split(text, lookup)
	return strings.Join(words, " "), err
}

// next takes a word off; false at the end.
func (s *splitter) next() (string, bool, error) {
	s.skip()
	if s.at == len(s.text) {
		return "", false, nil
	}
	if s.text[s.at] == '(' {
		end := strings.IndexByte(s.text[s.at:], ')')
		if end < 0 {
			return "", false, pintle.Errorf("%s: a ( is not closed", s.text)
		}
		group := s.text[s.at : s.at+end+1]
		s.at += end + 1
		return group, true, nil
	}
	var word strings.Builder
	quote := byte(0)
	for s.at < len(s.text) {
		c := s.text[s.at]
		switch {
		case quote == 0 && unicode.IsSpace(rune(c)):
			return word.String(), true, nil
		case c == quote:
			quote = 0
			s.at++
		case quote == 0 && (c == '\'' || c == '"'):
			quote = c
			s.at++
		case c == '\\' && quote != '\'' && s.at+1 < len(s.text):
			word.WriteByte(s.text[s.at+1])
			s.at += 2
		case c == '$' && quote != '\'' && s.lookup != nil:
			value, err := s.variable()
			if err != nil {
				return "", false, err
			}
			word.WriteString(value)
		default:
			word.WriteByte(c)
			s.at++
		}
	}
	if quote != 0 {
		return "", false, pintle.Errorf("%s: a %c is not closed", s.text, quote)
	}
	return word.String(), true, nil
}

func (s *splitter) skip() {
	for s.at < len(s.text) && unicode.IsSpace(rune(s.text[s.at])) {
		s.at++
	}
}

// rest is what was not taken yet.
func (s *splitter) rest() string { return strings.TrimSpace(s.text[s.at:]) }

func isName(c byte, first bool) bool {
	return c == '_' || c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z' || !first && c >= '0' && c <= '9'
}

// variable takes `$NAME`, `${NAME}`, `${NAME:-other}` or `${NAME:+other}` off.
func (s *splitter) variable() (string, error) {
	start := s.at
	s.at++
	if s.at < len(s.text) && s.text[s.at] == '(' {
		return "", pintle.Errorf("%s: what a command prints cannot be a value here: give an ARG, or do it in a RUN", s.text)
	}
	inner := ""
	if s.at < len(s.text) && s.text[s.at] == '{' {
		end := strings.IndexByte(s.text[s.at:], '}')
		if end < 0 {
			return "", pintle.Errorf("%s: a { is not closed", s.text)
		}
		inner = s.text[s.at+1 : s.at+end]
		s.at += end + 1
	} else {
		end := s.at
		for end < len(s.text) && isName(s.text[end], end == s.at) {
			end++
		}
		inner = s.text[s.at:end]
		s.at = end
	}
	end := 0
	for end < len(inner) && isName(inner[end], end == 0) {
		end++
	}
	name, operator := inner[:end], inner[end:]
	if name == "" {
		return s.text[start:s.at], nil
	}
	value, _ := s.lookup(name)
	other, hasOther := strings.CutPrefix(operator, ":-")
	instead, hasInstead := strings.CutPrefix(operator, ":+")
	switch {
	case operator == "":
		return value, nil
	case hasOther && value == "":
		return expand(other, s.lookup)
	case hasInstead && value != "":
		return expand(instead, s.lookup)
	case hasOther:
		return value, nil
	case hasInstead:
		return "", nil
	}
	return "", pintle.Errorf("${%s}: want ${NAME}, ${NAME:-other} or ${NAME:+other}", inner)
}

// option is a flag of a command.
type option struct{ name, value string }

// options takes flags off a command's text; those in `known` are taken, with true for those that have a value, which may be the next
// word. The rest is what follows.
func options(text string, known map[string]bool, lookup lookup) ([]option, string, error) {
	splitter := &splitter{text: text, lookup: lookup}
	var found []option
	for {
		splitter.skip()
		if !strings.HasPrefix(splitter.rest(), "--") {
			return found, splitter.rest(), nil
		}
		word, _, err := splitter.next()
		if err != nil {
			return nil, "", err
		}
		if word == "--" {
			return found, splitter.rest(), nil
		}
		name, value, hasValue := strings.Cut(strings.TrimPrefix(word, "--"), "=")
		wantsValue, ok := known[name]
		if !ok {
			return nil, "", pintle.Errorf("--%s: this frontend does not know it here", name)
		}
		if wantsValue && !hasValue {
			if value, _, err = splitter.next(); err != nil {
				return nil, "", err
			}
		}
		if !wantsValue && hasValue && value != "true" && value != "false" {
			return nil, "", pintle.Errorf("--%s=%s: want true or false", name, value)
		}
		if wantsValue || value != "false" {
			found = append(found, option{name, value})
		}
	}
}

// has says whether a flag is among them.
func has(found []option, name string) bool {
	for _, option := range found {
		if option.name == name {
			return true
		}
	}
	return false
}

// value answers a flag's value, "" when it is not given.
func value(found []option, name string) string {
	for _, option := range found {
		if option.name == name {
			return option.value
		}
	}
	return ""
}
