package config

import (
	"fmt"
	"os"

	"github.com/upstreamauth/caddy-upstream-auth/credential"
)

// CheckEndpoint reports whether secrets may be sent to a URL.
func CheckEndpoint(text string) error {
	_, err := credential.ParseEndpoint(text)
	return err
}

// CheckReadable reports whether a file can be read.
func CheckReadable(name string) error {
	f, err := os.Open(name)
	if err != nil {
		return err
	}
	defer f.Close()
	if info, err := f.Stat(); err != nil {
		return err
	} else if info.IsDir() {
		return fmt.Errorf("%s is a directory", name)
	}
	return nil
}
