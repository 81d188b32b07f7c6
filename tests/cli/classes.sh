#!/bin/bash
# Images with classes: trained, and written for the class that is asked for.
. "$(dirname "$0")/_lib.sh"
cd "$scratch" || exit 1

# 48 values behind their class: one value of its own for each of three classes.
mkdir images
for class in 0 1 2; do
    for number in 1 2 3 4 5 6 7 8; do
        {
            printf "\\00$class"
            printf "$class%.0s" {1..48}
        } >"images/$class$number.txt"
    done
done
cat >classes.ini <<'E'
[data]
path = images
layout = documents
reset_at_document = true
batch = 4
[model]
layers = 1
width = 16
heads = 2
segment = 48
positions = none
tied = false
[memory]
kind = routing-image
routing_heads = 0
image_height = 4
image_width = 4
block = 8
look_back = 8
classes = 3
[train]
steps = 300
learning_rate = 0.01
schedule = constant
warmup = 0
E
check "training" "$longhand" train classes.ini --out run
for class in 0 1 2; do
    equal "an image of class $class" "$("$longhand" generate run --class $class --tokens 48 --temperature 0 2>/dev/null)" \
        "$(printf "$class%.0s" {1..48})"
done
refuses "a class that there is not" 2 "none of the model's 3 classes" "$longhand" generate run --class 3
refuses "a negative class" 2 "none of the model's 3 classes" "$longhand" generate run --class=-1
refuses "a token in front that is no class" 2 "none of 3 classes" "$longhand" generate run --prompt z
check "a session is saved" "$longhand" generate run --class 1 --tokens 5 --temperature 0 --save-session session
refuses "a loaded session and a class" 2 "goes on with its own" "$longhand" generate run --class 1 --load-session session
equal "the session's class goes on" \
    "$("$longhand" generate run --load-session session --tokens 9 --temperature 0 2>/dev/null)" 111111111
sed -i 's/classes = 3/classes = 0/; s/steps = 300/steps = 1/' classes.ini
check "training without classes" "$longhand" train classes.ini --out plain
refuses "a model without classes" 2 "have no classes" "$longhand" generate plain --class 0
finish
