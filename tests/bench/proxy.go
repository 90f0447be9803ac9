package main

import (
	"context"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"os"
	"os/exec"
	"syscall"
	"time"

	"github.com/minio/minio-go/v7"

	"github.com/roomline/roomline/internal/child"
	"github.com/roomline/roomline/internal/hstest/freeport"
)

// proxyCommand as an argument makes this program a proxy before the object store that does nothing but copy: what passing bytes through another
// process costs on this machine, whoever does it. It is a process of its own, as the server is.
const proxyCommand = "serve-proxy"

func serveProxy(address, store string) error {
	client := &http.Client{Transport: &http.Transport{MaxIdleConnsPerHost: 64, DisableCompression: true}}
	return http.ListenAndServe(address, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		answer, err := client.Get("http://" + store + r.URL.RequestURI())
		if err != nil {
			http.Error(w, err.Error(), http.StatusBadGateway)
			return
		}
		defer answer.Body.Close()
		w.Header().Set("Content-Type", answer.Header.Get("Content-Type"))
		w.Header().Set("Content-Length", answer.Header.Get("Content-Length"))
		w.WriteHeader(answer.StatusCode)
		_, _ = io.Copy(w, answer.Body)
	}))
}

// throughProxy downloads objects through the proxy, by presigned addresses, with the client that the server is measured by.
func (s *objectStore) throughProxy(objects []minio.ObjectInfo, size int64) (get func(i int) error, stop func(), err error) {
	address, err := freeport.Address()
	if err != nil {
		return nil, nil, err
	}
	clients, targets := make([]*client, len(objects)), make([]string, len(objects))
	for i, o := range objects {
		u, err := s.direct.PresignedGetObject(context.Background(), bucket, o.Key, time.Hour, url.Values{})
		if err != nil {
			return nil, nil, err
		}
		clients[i], targets[i] = newClient(address, ""), u.RequestURI()
	}
	self, err := os.Executable()
	if err != nil {
		return nil, nil, err
	}
	cmd := exec.Command(self, proxyCommand, address, s.direct.EndpointURL().Host)
	cmd.Stderr = os.Stderr
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	if err := child.Start(cmd); err != nil {
		return nil, nil, err
	}
	stop = func() {
		for _, c := range clients {
			c.close()
		}
		_ = cmd.Process.Kill()
		_ = cmd.Wait()
	}
	get = func(i int) error {
		n, err := clients[i].download(targets[i])
		if err == nil && n != size {
			err = fmt.Errorf("a download through the proxy has %d bytes of %d", n, size)
		}
		return err
	}
	for range 500 {
		if err = get(0); err == nil {
			return get, stop, nil
		}
		time.Sleep(10 * time.Millisecond)
	}
	stop()
	return nil, nil, err
}
