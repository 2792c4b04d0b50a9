// Command demo shows the main job of upstream_auth from end to end, on one
// machine and with nothing to prepare: a request that names a tenant gets that
// tenant's token, and when the API rejects it, a new one, without the app that
// made the request knowing of any of it.
//
// It starts a small authorization server, a small API, and Caddy with
// upstream_auth on a local store, makes requests, says what everybody saw, and
// stays up to be tried until it is interrupted. It keeps its files in a temporary
// directory, which it removes. If anything goes otherwise than told, the exit
// status is 1.
//
// With -once it ends after the narration.
package main

import (
	"context"
	"flag"
	"fmt"
	"os"
	"os/signal"
	"syscall"
)

func main() {
	once := flag.Bool("once", false, "end after the narration")
	flag.Parse()
	if flag.NArg() > 0 {
		flag.Usage()
		os.Exit(2)
	}
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM, syscall.SIGHUP)
	context.AfterFunc(ctx, stop) // a second signal ends the process at once
	if err := run(ctx, os.Stdout, *once); err != nil {
		fmt.Fprintln(os.Stderr, "demo:", err)
		os.Exit(1)
	}
}
