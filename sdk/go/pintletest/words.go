package pintletest

import (
	_ "embed"
	"strings"
	"sync"
)

// table is a copy of wit/v0.1/attributes.md, which hosts and SDKs share.
//
//go:embed attributes.md
var table string

// known has words by where they stand: `exec`, `mount.bind`, `source.git`; a word that ends in `.*` is a family.
var known = sync.OnceValue(func() map[string]map[string]bool {
	words := map[string]map[string]bool{}
	for _, line := range strings.Split(table, "\n") {
		cells := strings.Split(line, "|")
		if len(cells) < 4 {
			continue
		}
		on, word := strings.TrimSpace(cells[1]), strings.TrimSpace(cells[2])
		if on == "" || word == "" || on == "On" || strings.Trim(on, "-") == "" {
			continue
		}
		if words[on] == nil {
			words[on] = map[string]bool{}
		}
		words[on][word] = true
	}
	return words
})

// isKnown says whether a word may stand on one of these places.
func isKnown(places []string, word string) bool {
	family, _, _ := strings.Cut(word, ".")
	for _, place := range places {
		if known()[place][word] || known()[place][family+".*"] {
			return true
		}
	}
	return false
}

// supports says whether a host knows a feature: a word after its place, or a place alone.
func supports(feature string) bool {
	if known()[feature] != nil {
		return true
	}
	at := strings.LastIndex(feature, ".")
	return at > 0 && isKnown([]string{feature[:at]}, feature[at+1:])
}
