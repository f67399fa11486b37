"""Validates events of OCSF, one a line, against the schema that they name."""

import json
import sys

import jsonschema
from ocsf_json_schema import OcsfJsonSchemaEmbedded, get_ocsf_schema

validators = {}
count = 0
for line in open(sys.argv[1], encoding="utf-8"):
    event = json.loads(line)
    version = event["metadata"]["version"]
    profiles = event["metadata"].get("profiles", [])
    key = (version, event["class_uid"], tuple(profiles))
    if key not in validators:
        schema = OcsfJsonSchemaEmbedded(get_ocsf_schema(version=version))
        of_class = schema.get_class_schema(schema.lookup_class_name_from_uid(event["class_uid"]), list(profiles))
        validators[key] = jsonschema.validators.validator_for(of_class)(of_class)
    for error in validators[key].iter_errors(event):
        sys.exit(f"line {count + 1}: {'/'.join(map(str, error.absolute_path))}: {error.message[:300]}")
    count += 1
print(count)
