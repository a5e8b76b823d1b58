package main

import (
	"crypto/rand"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"net/http"
	"strings"
	"sync"
)

// Where the blobs of entries are.
const entriesPath = "/actions/entries"

// The tokens of two jobs: of the main branch, and of another, which may read what main has written.
var (
	mainJob  = job(`[{"Scope":"refs/heads/main","Permission":3}]`)
	otherJob = job(`[{"Scope":"refs/heads/other","Permission":3},{"Scope":"refs/heads/main","Permission":1}]`)
)

// job makes a token for those scopes. Nobody here checks its signature.
func job(scopes string) string {
	claims, err := json.Marshal(map[string]any{"ac": scopes, "nbf": 0, "exp": 99999999999})
	if err != nil {
		panic(err)
	}
	return "e30." + base64.RawURLEncoding.EncodeToString(claims) + ".none"
}

// reads are the scopes that a token may read, in order; the first is the one that it writes.
func reads(token string) []string {
	switch token {
	case mainJob:
		return []string{"refs/heads/main"}
	case otherJob:
		return []string{"refs/heads/other", "refs/heads/main"}
	}
	return nil
}

// entry is one in the cache of a scope; it is found once it is finished.
type entry struct {
	scope, key, version, path string
	finished                  bool
}

// actions is the cache service of GitHub Actions, in its second version: each entry is written once, and its bytes are a blob of
// Azure's behind URLs that are signed for reading or for writing.
type actions struct {
	mutex    sync.Mutex
	accepted *requests
	entries  []*entry
	blobs    *blobs
	secret   string
	asked    int
}

// One of so many questions is to be asked again.
const impatient = 7

func actionsServer(accepted *requests) http.Handler {
	kept := newBlobs()
	kept.containers[entriesPath] = true
	service := &actions{accepted: accepted, blobs: kept, secret: rand.Text()}
	mux := http.NewServeMux()
	mux.HandleFunc("POST /twirp/github.actions.results.api.v1.CacheService/{method}", service.call)
	mux.HandleFunc(entriesPath+"/", service.blob)
	return mux
}

// blob lets in who has the URL that was made for this.
func (a *actions) blob(w http.ResponseWriter, r *http.Request) {
	may := "read"
	if r.Method == http.MethodPut {
		may = "write"
	}
	if r.URL.Query().Get("sig") != a.signature(r.URL.Path, may) || r.Header.Get("Authorization") != "" {
		refuse(w, http.StatusForbidden, "AuthenticationFailed", "the URL is not signed for this")
		return
	}
	a.accepted.note(r, "")
	a.blobs.serve(w, r)
}

func (a *actions) signature(path, may string) string {
	return base64.StdEncoding.EncodeToString([]byte(a.secret + "+/" + path + may))
}

func (a *actions) url(r *http.Request, path, may string) string {
	signature := strings.NewReplacer("+", "%2B", "/", "%2F", "=", "%3D").Replace(a.signature(path, may))
	return "http://" + r.Host + path + "?se=2099&sig=" + signature
}

// A question, with all fields that one may have.
type question struct {
	Key         string   `json:"key"`
	RestoreKeys []string `json:"restore_keys"`
	Version     string   `json:"version"`
	SizeBytes   int64    `json:"size_bytes"`
}

func (a *actions) call(w http.ResponseWriter, r *http.Request) {
	a.mutex.Lock()
	defer a.mutex.Unlock()
	scopes := reads(strings.TrimPrefix(r.Header.Get("Authorization"), "Bearer "))
	var asked question
	decoder := json.NewDecoder(r.Body)
	decoder.DisallowUnknownFields()
	if err := decoder.Decode(&asked); err != nil || asked.Key == "" || len(asked.Version) != 64 {
		fail(w, http.StatusBadRequest, "malformed", fmt.Sprint("a question that cannot be read: ", err))
		return
	}
	if scopes == nil {
		fail(w, http.StatusUnauthorized, "unauthenticated", "no token of a job")
		return
	}
	if a.asked++; a.asked%impatient == 0 {
		w.Header().Set("Retry-After", "0")
		fail(w, http.StatusTooManyRequests, "resource_exhausted", "ask again")
		return
	}
	method := r.PathValue("method")
	a.accepted.note(r, scopes[0]+" "+asked.Key)
	switch method {
	case "GetCacheEntryDownloadURL":
		a.find(w, r, scopes, asked)
	case "CreateCacheEntry":
		a.create(w, r, scopes[0], asked)
	case "FinalizeCacheEntryUpload":
		a.finish(w, scopes[0], asked)
	default:
		fail(w, http.StatusNotFound, "bad_route", method)
	}
}

func (a *actions) find(w http.ResponseWriter, r *http.Request, scopes []string, asked question) {
	for _, scope := range scopes {
		for _, key := range append([]string{asked.Key}, asked.RestoreKeys...) {
			for i := len(a.entries) - 1; i >= 0; i-- {
				found := a.entries[i]
				if found.finished && found.scope == scope && found.version == asked.Version && strings.HasPrefix(found.key, key) {
					answer(w, map[string]any{"ok": true, "signed_download_url": a.url(r, found.path, "read"), "matched_key": found.key})
					return
				}
			}
		}
	}
	answer(w, map[string]any{"ok": false, "signed_download_url": "", "matched_key": ""})
}

// own is the entry of exactly that name, or nil.
func (a *actions) own(scope string, asked question) *entry {
	for _, known := range a.entries {
		if known.scope == scope && known.key == asked.Key && known.version == asked.Version {
			return known
		}
	}
	return nil
}

func (a *actions) create(w http.ResponseWriter, r *http.Request, scope string, asked question) {
	if a.own(scope, asked) != nil {
		fail(w, http.StatusConflict, "already_exists", "cache entry with the same key, version, and scope already exists")
		return
	}
	path := fmt.Sprintf("%s/%d", entriesPath, len(a.entries))
	a.entries = append(a.entries, &entry{scope: scope, key: asked.Key, version: asked.Version, path: path})
	answer(w, map[string]any{"ok": true, "signed_upload_url": a.url(r, path, "write")})
}

func (a *actions) finish(w http.ResponseWriter, scope string, asked question) {
	own := a.own(scope, asked)
	if own == nil || own.finished || a.blobs.size(own.path) != asked.SizeBytes {
		fail(w, http.StatusBadRequest, "invalid_argument", "no entry of that size was written")
		return
	}
	own.finished = true
	answer(w, map[string]any{"ok": true, "entry_id": own.path})
}

func answer(w http.ResponseWriter, value any) {
	w.Header().Set("Content-Type", "application/json")
	if err := json.NewEncoder(w).Encode(value); err != nil {
		panic(err)
	}
}

func fail(w http.ResponseWriter, status int, code, message string) {
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(status)
	fmt.Fprintf(w, `{"code":%q,"msg":%q}`, code, message)
}
