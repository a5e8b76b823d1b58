package main

import (
	"bytes"
	"context"
	"encoding/base64"
	"encoding/xml"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/Azure/azure-sdk-for-go/sdk/azcore"
	"github.com/Azure/azure-sdk-for-go/sdk/azcore/policy"
	"github.com/Azure/azure-sdk-for-go/sdk/storage/azblob/container"
)

// The account that is there, and its key.
const account = "account"

var accountKey = base64.StdEncoding.EncodeToString([]byte("the key of the account"))

// blobs are what Azure keeps of a blob, by its path.
type blobs struct {
	mutex      sync.Mutex
	containers map[string]bool
	blocks     map[string]map[string][]byte
	whole      map[string][]byte
}

func newBlobs() *blobs {
	return &blobs{containers: map[string]bool{}, blocks: map[string]map[string][]byte{}, whole: map[string][]byte{}}
}

// azureServer keeps blobs in memory and answers only what is signed, as the library of Azure signs it.
func azureServer(accepted *requests) http.Handler {
	kept := newBlobs()
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if err := keySigned(r); err != nil {
			refuse(w, http.StatusForbidden, "AuthenticationFailed", err.Error())
			return
		}
		accepted.note(r, "")
		kept.serve(w, r)
	})
}

func refuse(w http.ResponseWriter, status int, code, message string) {
	w.Header().Set("x-ms-error-code", code)
	w.WriteHeader(status)
	fmt.Fprintf(w, "<?xml version=\"1.0\"?><Error><Code>%s</Code><Message>%s</Message></Error>", code, message)
}

// keySigned has the library sign the same request again.
func keySigned(r *http.Request) error {
	date, err := time.Parse(http.TimeFormat, r.Header.Get("x-ms-date"))
	if err != nil || time.Since(date).Abs() > 15*time.Minute {
		return fmt.Errorf("signed at %q", r.Header.Get("x-ms-date"))
	}
	credential, err := container.NewSharedKeyCredential(account, accountKey)
	if err != nil {
		return err
	}
	again := &signer{request: r}
	options := &container.ClientOptions{ClientOptions: azcore.ClientOptions{
		PerCallPolicies: []policy.Policy{again},
		Transport:       end{again},
		Retry:           policy.RetryOptions{MaxRetries: -1},
	}}
	client, err := container.NewClientWithSharedKeyCredential("http://"+r.Host+"/x", credential, options)
	if err != nil {
		return err
	}
	if _, err := client.GetProperties(context.Background(), nil); !errors.Is(err, errSigned) {
		return err
	}
	if got := r.Header.Get("Authorization"); got != again.authorization {
		return fmt.Errorf("%s is not %s", got, again.authorization)
	}
	return nil
}

var errSigned = errors.New("signed, and not sent")

// signer puts a request in the place of another before that is signed, and notes the signature.
type signer struct {
	request       *http.Request
	authorization string
}

func (s *signer) Do(next *policy.Request) (*http.Response, error) {
	raw := next.Raw()
	raw.Method, raw.Host = s.request.Method, s.request.Host
	raw.Header = s.request.Header.Clone()
	raw.Header.Del("Authorization")
	raw.Header.Set("Content-Length", strconv.FormatInt(s.request.ContentLength, 10))
	url := *s.request.URL
	url.Scheme, url.Host = "http", s.request.Host
	raw.URL = &url
	return next.Next()
}

// end is where the library would send it.
type end struct{ *signer }

func (e end) Do(request *http.Request) (*http.Response, error) {
	e.authorization = request.Header.Get("Authorization")
	return nil, errSigned
}

func (b *blobs) serve(w http.ResponseWriter, r *http.Request) {
	b.mutex.Lock()
	defer b.mutex.Unlock()
	if r.Header.Get("x-ms-version") == "" {
		refuse(w, http.StatusBadRequest, "MissingRequiredHeader", "x-ms-version")
		return
	}
	path, query := r.URL.Path, r.URL.Query()
	body, err := io.ReadAll(r.Body)
	if err != nil {
		refuse(w, http.StatusBadRequest, "InvalidInput", err.Error())
		return
	}
	if query.Get("restype") == "container" {
		b.container(w, r.Method, path)
		return
	}
	// /account/container/blob
	parts := strings.SplitN(path, "/", 4)
	if len(parts) != 4 || !b.containers[strings.Join(parts[:3], "/")] {
		refuse(w, http.StatusNotFound, "ContainerNotFound", "there is no such container")
		return
	}
	switch {
	case r.Method == http.MethodPut:
		b.put(w, r, body)
	case b.whole[path] == nil:
		refuse(w, http.StatusNotFound, "BlobNotFound", "there is no such blob")
	default:
		if part := r.Header.Get("x-ms-range"); part != "" {
			r.Header.Set("Range", part)
		}
		http.ServeContent(w, r, "", time.Time{}, bytes.NewReader(b.whole[path]))
	}
}

func (b *blobs) container(w http.ResponseWriter, method, path string) {
	switch {
	case method == http.MethodPut && b.containers[path]:
		refuse(w, http.StatusConflict, "ContainerAlreadyExists", "it is there")
	case method == http.MethodPut:
		b.containers[path] = true
		w.WriteHeader(http.StatusCreated)
	case !b.containers[path]:
		refuse(w, http.StatusNotFound, "ContainerNotFound", "there is no such container")
	}
}

func (b *blobs) put(w http.ResponseWriter, r *http.Request, body []byte) {
	path, query := r.URL.Path, r.URL.Query()
	switch query.Get("comp") {
	case "block":
		id := query.Get("blockid")
		if _, err := base64.StdEncoding.DecodeString(id); err != nil || id == "" || len(body) == 0 {
			refuse(w, http.StatusBadRequest, "InvalidQueryParameterValue", "blockid")
			return
		}
		if b.blocks[path] == nil {
			b.blocks[path] = map[string][]byte{}
		}
		b.blocks[path][id] = body
	case "blocklist":
		if r.Header.Get("If-None-Match") == "*" && b.whole[path] != nil {
			refuse(w, http.StatusConflict, "BlobAlreadyExists", "it is there")
			return
		}
		whole, err := b.join(path, body)
		if err != nil {
			refuse(w, http.StatusBadRequest, "InvalidBlockList", err.Error())
			return
		}
		b.whole[path] = whole
		delete(b.blocks, path)
	default:
		if r.Header.Get("x-ms-blob-type") != "BlockBlob" {
			refuse(w, http.StatusBadRequest, "MissingRequiredHeader", "x-ms-blob-type")
			return
		}
		b.whole[path] = body
	}
	w.WriteHeader(http.StatusCreated)
}

// join puts the parts of a list together.
func (b *blobs) join(path string, body []byte) ([]byte, error) {
	var list struct {
		XMLName xml.Name `xml:"BlockList"`
		Latest  []string
	}
	if err := xml.Unmarshal(body, &list); err != nil {
		return nil, err
	}
	whole := []byte{}
	for _, id := range list.Latest {
		part, ok := b.blocks[path][id]
		if !ok {
			return nil, fmt.Errorf("there is no part %s", id)
		}
		whole = append(whole, part...)
	}
	return whole, nil
}

// size is that of a blob in bytes; -1 where there is none.
func (b *blobs) size(path string) int64 {
	b.mutex.Lock()
	defer b.mutex.Unlock()
	if whole, ok := b.whole[path]; ok {
		return int64(len(whole))
	}
	return -1
}
