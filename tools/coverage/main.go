// Command coverage finds out how many of a set of APIs can be configured. It reads lines of
// JSON, each of which has facts on how one API authenticates requests:
//
//	go run ./tools/coverage [-v id] FILE
//
// Of each line a provider and a site are made, in a Caddyfile, which is adapted, and
// provisioned as by `caddy validate`; nothing is listened on, dialled or sent. A line is
// covered if all its facts are expressed, and if the provider then does as they say: it
// takes a credential that is made of the fields that they name, authenticates a request
// with it, makes the token requests, reads their answers, and connects an account.
//
// The share is printed by method, then what is not covered, and why, and which facts are
// left out of account. With -v the Caddyfile of one line is printed.
package main

import (
	"bufio"
	"bytes"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"flag"
	"fmt"
	"io"
	"math/big"
	"os"
	"path/filepath"
	"time"

	_ "github.com/caddyserver/caddy/v2/modules/standard"
)

func main() {
	id := flag.String("v", "", "print the Caddyfile of the line with this `id`")
	flag.Usage = func() {
		fmt.Fprint(os.Stderr, "usage: coverage [-v id] FILE\n")
		flag.PrintDefaults()
	}
	flag.Parse()
	if flag.NArg() != 1 {
		flag.Usage()
		os.Exit(2)
	}
	if err := run(os.Stdout, flag.Arg(0), *id); err != nil {
		fmt.Fprintln(os.Stderr, "coverage:", err)
		os.Exit(1)
	}
}

func run(w io.Writer, file, id string) error {
	lines, err := readLines(file)
	if err != nil {
		return err
	}
	if id == "" {
		apis, err := examineAll(lines)
		if err != nil {
			return err
		}
		_, err = io.WriteString(w, report(apis))
		return err
	}
	for _, line := range lines {
		if a := read(line); a.id == id {
			text := a.caddyfile()
			for _, gap := range a.gaps {
				text += "# not covered: " + gap + "\n"
			}
			_, err := io.WriteString(w, text)
			return err
		}
	}
	return fmt.Errorf("no line has the id %q", id)
}

// readLines returns the lines of a file that are not empty.
func readLines(file string) (lines [][]byte, err error) {
	content, err := os.ReadFile(file)
	if err != nil {
		return nil, err
	}
	scanner := bufio.NewScanner(bytes.NewReader(content))
	scanner.Buffer(nil, len(content)+1)
	for scanner.Scan() {
		if line := bytes.TrimSpace(scanner.Bytes()); len(line) > 0 {
			lines = append(lines, bytes.Clone(line))
		}
	}
	return lines, scanner.Err()
}

// examineAll looks at all lines, with made-up files and variables.
func examineAll(lines [][]byte) (apis []*api, err error) {
	dir, err := os.MkdirTemp("", "coverage-")
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, os.RemoveAll(dir)) }()
	if err := writeFiles(dir); err != nil {
		return nil, err
	}
	for name, value := range map[string]string{
		"CLIENT_ID": clientID, "CLIENT_SECRET": clientSecret, "CREDENTIALS_DIRECTORY": dir,
		"HOME": dir, "XDG_DATA_HOME": dir, "XDG_CONFIG_HOME": dir, // Caddy's own
	} {
		if err := os.Setenv(name, value); err != nil {
			return nil, err
		}
	}
	for _, line := range lines {
		a := read(line)
		if len(a.gaps) == 0 {
			a.examine()
		}
		apis = append(apis, a)
	}
	return apis, nil
}

// writeFiles writes what Caddyfiles name.
func writeFiles(dir string) error {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return err
	}
	private, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		return err
	}
	template := &x509.Certificate{SerialNumber: big.NewInt(1), NotAfter: time.Now().Add(time.Hour)}
	certificate, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	if err != nil {
		return err
	}
	for name, content := range map[string][]byte{
		"vault-token":     []byte("made up"),
		"client-key.pem":  pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: private}),
		"client-cert.pem": pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: certificate}),
	} {
		if err := os.WriteFile(filepath.Join(dir, name), content, 0o600); err != nil {
			return err
		}
	}
	return nil
}
