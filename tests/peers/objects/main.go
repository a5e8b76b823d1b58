// Command objects serves stores of objects on the loopback address, for caches: Amazon's S3, Azure's storage of blobs, and the
// cache of GitHub Actions. It prints where each listens, as NAME=URL, and the tokens of two jobs; and writes every request that is
// accepted to the file that it is given.
package main

import (
	"fmt"
	"log"
	"net"
	"net/http"
	"os"
	"sync"
)

func main() {
	if len(os.Args) != 2 {
		log.Fatal("usage: objects LOG")
	}
	file, err := os.Create(os.Args[1])
	if err != nil {
		log.Fatal(err)
	}
	accepted := &requests{file: file}
	serve("S3", s3Server(accepted))
	serve("AZURE", azureServer(accepted))
	serve("ACTIONS", actionsServer(accepted))
	fmt.Printf("MAINJOB=%s\nOTHERJOB=%s\n", mainJob, otherJob)
	select {}
}

// serve listens on a free port until the process ends.
func serve(name string, handler http.Handler) {
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		log.Fatal(err)
	}
	fmt.Printf("%s=http://%s\n", name, listener.Addr())
	go func() { log.Fatal(http.Serve(listener, handler)) }()
}

// requests are written down, a line each.
type requests struct {
	mutex sync.Mutex
	file  *os.File
}

func (r *requests) note(request *http.Request, what string) {
	r.mutex.Lock()
	defer r.mutex.Unlock()
	if _, err := fmt.Fprintln(r.file, request.Method, request.URL.RequestURI(), what); err != nil {
		log.Fatal(err)
	}
}
