// Command xcaddybuild runs xcaddy as an xcaddy.json says, which states a custom
// build of Caddy: its version, the plugins and what replaces which module.
package main

import (
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"os"
	"os/exec"
	"slices"
	"strings"
)

// build is the content of an xcaddy.json.
type build struct {
	CaddyVersion string `json:"caddy_version"`
	Plugins      []struct {
		ModulePath string `json:"module_path"`
		Version    string `json:"version"` // empty: what replacements say, else the latest
	} `json:"plugins"`
	Replacements []struct {
		Old string `json:"old"`
		New string `json:"new"` // a module path with its version, or a directory
	} `json:"replacements"`
}

func main() {
	file := flag.String("file", "xcaddy.json", "the `file` that states the build")
	xcaddy := flag.String("xcaddy", "xcaddy", "the xcaddy `program`")
	output := flag.String("output", "caddy", "the `file` to write")
	flag.Parse()
	if err := run(*file, *xcaddy, *output); err != nil {
		fmt.Fprintln(os.Stderr, "xcaddybuild:", err)
		os.Exit(1)
	}
}

func run(file, xcaddy, output string) error {
	text, err := os.ReadFile(file)
	if err != nil {
		return err
	}
	var b build
	if err := json.Unmarshal(text, &b); err != nil {
		return fmt.Errorf("reading %s: %w", file, err)
	}
	args, err := b.args(output)
	if err != nil {
		return fmt.Errorf("reading %s: %w", file, err)
	}
	proxy, err := exec.Command("go", "env", "GOPROXY").Output()
	if err != nil {
		return fmt.Errorf("asking for GOPROXY: %w", err)
	}
	command := exec.Command(xcaddy, args...)
	command.Env = append(os.Environ(), "GOPROXY="+lenient(strings.TrimSpace(string(proxy))))
	command.Stdout, command.Stderr = os.Stdout, os.Stderr
	return command.Run()
}

// lenient makes a GOPROXY whose refusals count as "not found". Go looks for a
// module at the path of the plugin's package before it looks at the module that
// replaces it, and takes for a failure whatever a proxy or a version control
// system says of a module that is not published in other words.
func lenient(proxy string) string {
	proxies := strings.FieldsFunc(proxy, func(r rune) bool { return r == ',' || r == '|' })
	proxies = slices.DeleteFunc(proxies, func(p string) bool { return p == "direct" || p == "off" })
	return strings.Join(append(proxies, "off"), "|")
}

// args are the arguments for xcaddy.
func (b *build) args(output string) ([]string, error) {
	if b.CaddyVersion == "" || len(b.Plugins) == 0 {
		return nil, errors.New("it names no caddy_version or no plugins")
	}
	args := []string{"build", b.CaddyVersion, "--output", output}
	for _, plugin := range b.Plugins {
		with := plugin.ModulePath
		if plugin.Version != "" {
			with += "@" + plugin.Version
		}
		args = append(args, "--with", with)
	}
	for _, replacement := range b.Replacements {
		args = append(args, "--replace", replacement.Old+"="+replacement.New)
	}
	return args, nil
}
