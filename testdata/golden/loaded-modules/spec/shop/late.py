# late
